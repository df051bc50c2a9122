//! Users who log in over HTTPS, on two processes that share a store of sessions.

mod bed;
mod browser;
mod hostile;
mod jar;
mod load;
mod promotion;
mod stays;
