mod audit_chain;
mod coverage;
mod isolation;
mod row_security;
mod tokens;
