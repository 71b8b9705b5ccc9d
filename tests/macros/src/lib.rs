//! `#[db_test]`: one test, run on both databases.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{ItemFn, parse_macro_input};

/// Make `sqlite_…` and `postgres_…` of an async test that takes a `Database`.
#[proc_macro_attribute]
pub fn db_test(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let name = &function.sig.ident;
    let (sqlite, postgres) = (format_ident!("sqlite_{name}"), format_ident!("postgres_{name}"));
    quote! {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn #sqlite() {
            #function
            #name(crate::support::Database::sqlite()).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn #postgres() {
            #function
            match crate::support::Database::postgres().await {
                Some(database) => #name(database).await,
                None => crate::support::skipped("PostgreSQL"),
            }
        }
    }
    .into()
}
