mod authority;
mod chains;
mod contract;
mod inventory;
mod limits;
mod routes;
mod transaction;
