//! The open inference protocol v2 over HTTP: metadata, readiness, inference.
//! Outputs are the model's own, as they are; `/v1/classify` is where softmax and labels are.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{body, error, v2_wire};
use crate::{
    error::ServeError,
    model::{Model, Registry},
    service::{Account, Service, TIMEOUT_HEADER, in_time},
    tensors::{
        EXTENSIONS, FP32, PLATFORM, SERVER, check_outputs, check_values, input_shape, output_shape,
        rows,
    },
};

/// How it is called in metrics.
pub(super) const PROTOCOL: &str = "v2";

/// `model`, and `version` where the path has one.
type Named = Path<HashMap<String, String>>;

pub(super) async fn server_metadata() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({"name": SERVER, "version": version, "extensions": EXTENSIONS}))
}

pub(super) async fn model_metadata(
    State(service): State<Arc<Service>>,
    Path(named): Named,
) -> Response {
    let models = match service.models() {
        Ok(models) => models,
        Err(refused) => return error::v2(&refused),
    };
    match find(&models, &named) {
        Ok(model) => Json(describe(&models, model)).into_response(),
        Err(refused) => error::v2(&refused),
    }
}

pub(super) async fn model_ready(
    State(service): State<Arc<Service>>,
    Path(named): Named,
) -> Response {
    match service.models().and_then(|models| find(&models, &named).map(|_| ())) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refused) => error::v2(&refused),
    }
}

pub(super) async fn infer(
    State(service): State<Arc<Service>>,
    Path(named): Named,
    request: Request,
) -> Response {
    let timeout = request.headers().get(TIMEOUT_HEADER).map(|v| v.to_str().unwrap_or("?"));
    let mut account = match service.open(PROTOCOL, timeout) {
        Ok(account) => account,
        Err(refused) => return error::v2(&refused),
    };
    let deadline = account.deadline();
    let outcome = in_time(deadline, run(&service, &mut account, &named, request)).await;
    let response = outcome.unwrap_or_else(|refused| error::v2(&refused));
    account.close(response.status().as_u16());
    response
}

async fn run(
    service: &Service,
    account: &mut Account,
    named: &HashMap<String, String>,
    request: Request,
) -> Result<Response, ServeError> {
    let models = service.models()?;
    let model = find(&models, named)?;
    account.is_for(model);
    let (parts, body) = request.into_parts();
    let bytes = body::read(&parts.headers, body, service.max_body).await?;
    // Parsing a batch written as JSON numbers takes as long as decoding a picture.
    let parse = move || v2_wire::Asked::parse(&parts.headers, &bytes);
    let asked = service.decoding.on_core(parse).await?;
    let contract = &model.contract;
    check_outputs(contract, asked.outputs())?;
    let rows = rows(contract, &asked.heads())?;
    let room = model.queue.admit(rows)?;
    let (values, reply) = asked.into_parts();
    let input = (check_values(values, rows)?, Duration::ZERO);
    let (scores, _) = service.infer(account, model, room, input).await?;
    Ok(reply.encode(model, rows, &scores))
}

fn find<'m>(
    models: &'m Registry,
    named: &HashMap<String, String>,
) -> Result<&'m Model, ServeError> {
    let part = |key: &str| named.get(key).map(String::as_str);
    models.get(part("model"), part("version"))
}

fn describe(models: &Registry, model: &Model) -> Value {
    let contract = &model.contract;
    let tensor =
        |name: &str, shape: &[i64]| json!({"name": name, "datatype": FP32, "shape": shape});
    json!({
        "name": model.labels.model,
        "versions": models.versions(&model.labels.model),
        "platform": PLATFORM,
        "inputs": [tensor(&contract.input, &input_shape(contract))],
        "outputs": [tensor(&contract.output, &output_shape(contract, None))],
        "properties": {"weights": model.weights},
    })
}
