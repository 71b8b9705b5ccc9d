//! Requests to the routes of plugins.

/// A request to a route of a plugin, as the plugin receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRequest {
    /// The request's id.
    pub id: String,
    /// Its method.
    pub method: String,
    /// The route, as the descriptor declares it.
    pub route: String,
    /// The path as called, below the plugin's own.
    pub path: String,
    /// The values of the route's parameters.
    pub params: Vec<(String, String)>,
    /// The query.
    pub query: Vec<(String, String)>,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a plugin answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestResponse {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}
