mod bus;
mod kill;
mod stop;
