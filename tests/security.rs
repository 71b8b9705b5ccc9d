mod audit_chain;
mod coverage;
mod floods;
mod injection;
mod isolation;
mod mail;
mod row_security;
mod tokens;
