mod authority;
mod chains;
mod inventory;
mod limits;
mod routes;
mod transaction;
