mod bus;
mod kill;
mod pool;
mod replicas;
mod stop;
