mod bus;
mod fair;
mod kill;
mod ledger;
mod pool;
mod replicas;
mod stop;
