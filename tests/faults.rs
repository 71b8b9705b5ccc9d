mod bus;
mod kill;
mod pool;
mod stop;
