mod coverage;
mod isolation;
mod row_security;
