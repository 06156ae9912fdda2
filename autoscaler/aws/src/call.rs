//! Why a call to AWS failed, in few words: the SDK's many error types come down to one here.

use std::{error::Error, fmt};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

/// A call that failed, after the SDK's retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {why}")]
pub struct CallError {
    /// AWS' name of the action.
    pub action: &'static str,
    /// What kind of failure it is.
    pub cause: Cause,
    /// The failure in words.
    pub why: String,
}

/// What kind of failure it is: this decides who must do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No answer in time.
    Timeout,
    /// No connection.
    Unreachable,
    /// Too many calls.
    Throttled,
    /// No credentials were found, or they were not accepted.
    Credentials,
    /// The credentials do not permit it.
    AccessDenied,
    /// What the call is about does not exist.
    Missing,
    /// The service refused for another reason.
    Refused,
    /// The answer cannot be read.
    Malformed,
}

impl CallError {
    pub(crate) fn new<E, R>(action: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug + 'static,
    {
        let cause = match error {
            SdkError::ServiceError(_) => Cause::of_code(error.code().unwrap_or_default()),
            _ if sources(error).any(<dyn Error>::is::<CredentialsError>) => Cause::Credentials,
            SdkError::TimeoutError(_) => Cause::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Cause::Timeout,
            SdkError::DispatchFailure(_) => Cause::Unreachable,
            SdkError::ResponseError(_) => Cause::Malformed,
            _ => Cause::Refused,
        };
        let why = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => in_full(error),
        };
        Self { action, cause, why }
    }

    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        self.cause.kind()
    }
}

/// An error and what led to it, in words: the SDK's own messages name only the outermost.
pub(crate) fn in_full(error: &(dyn Error + 'static)) -> String {
    sources(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// An error and what led to it.
fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| Error::source(*error))
}

// === impl Cause ===

impl Cause {
    /// The codes are those that EC2, SQS and the price list document as common errors.
    fn of_code(code: &str) -> Self {
        match code {
            "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException" => Self::Throttled,
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
                Self::AccessDenied
            }
            "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Self::Credentials,
            "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" => Self::Missing,
            _ => Self::Refused,
        }
    }

    /// The name for a metric label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::Credentials => "credentials",
            Self::AccessDenied => "access-denied",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}
