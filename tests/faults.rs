mod bus;
mod fair;
mod kill;
mod ledger;
mod neighbours;
mod pool;
mod replicas;
mod stop;
