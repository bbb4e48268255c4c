//! What a request brings, read into the types of the API.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::{Refusal, refusal};

/// A JSON body, whose mistakes are answered as every other refusal is.
pub(super) struct Sent<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(misread(rejection.status(), rejection.body_text())),
        }
    }
}

/// What stands behind the `?` of a path, whose mistakes are answered so too.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(misread(rejection.status(), rejection.body_text())),
        }
    }
}

fn misread(status: StatusCode, mistake: String) -> Refusal {
    refusal(status, mistake, Some("GET /openapi.json describes what may be asked"))
}
