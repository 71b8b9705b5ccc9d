mod authority;
mod chains;
mod contract;
mod inventory;
mod life;
mod limits;
mod routes;
mod transaction;
