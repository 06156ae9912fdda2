//! The gRPC port: the open inference protocol v2, its health and metadata calls included.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    extract::{Request as HttpRequest, State},
    middleware::{self, Next},
    response::Response as HttpResponse,
};
use spotscale_proto::inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ServerLiveRequest,
    ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse,
    grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
    model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor,
    model_metadata_response::TensorMetadata,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, service::Routes, transport::Server};

use crate::{
    accept::Connections,
    engine::EngineError,
    error::ServeError,
    http::status,
    model::{Model, Registry},
    service::{Account, Service, TIMEOUT_HEADER, in_time},
    tensors::{
        EXTENSIONS, FP32, Head, PLATFORM, SERVER, check_outputs, check_values, from_bytes,
        input_shape, output_shape, rows, to_bytes,
    },
};

/// How it is called in metrics.
const PROTOCOL: &str = "grpc";
/// How often a silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A connection on which not even that is answered is cut off, and so is one on which HTTP/2 never begins: it would keep
/// its place among the connections for ever.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// What a message may take to arrive beyond the request's own time, so that an ordinary late one closes its own account.
const ARRIVAL_MARGIN: Duration = Duration::from_secs(1);

/// Serves until `shutdown`, then until the open requests are answered.
pub(crate) async fn serve(
    connections: Connections,
    service: Arc<Service>,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let limited = middleware::from_fn_with_state(Arc::clone(&service), limit);
    let streams = u32::try_from(service.requests.available_permits()).unwrap_or(u32::MAX);
    let protocol = GrpcInferenceServiceServer::new(Protocol { service: Arc::clone(&service) })
        .max_decoding_message_size(service.max_body);
    let routes = Routes::from(Routes::new(protocol).into_axum_router().layer(limited));
    Server::builder()
        .max_concurrent_streams(streams)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            connections.cut_after(SILENCE_MAX).into_stream(),
            shutdown.cancelled_owned(),
        )
        .await
}

/// Refuses an inference that is beyond the limit before its message is read.
async fn limit(
    State(service): State<Arc<Service>>,
    request: HttpRequest,
    next: Next,
) -> HttpResponse {
    if !request.uri().path().ends_with("/ModelInfer") {
        return next.run(request).await;
    }
    let Ok(_permit) = service.requests.try_acquire() else {
        service.metrics.refused(PROTOCOL);
        return as_status(&ServeError::Busy).into_http();
    };
    // The account's own deadline starts when the message is whole; this one bounds its arrival.
    let longest = service.request_timeout + ARRIVAL_MARGIN;
    let answer = tokio::time::timeout(longest, next.run(request)).await;
    answer.unwrap_or_else(|_| as_status(&ServeError::Late).into_http())
}

struct Protocol {
    service: Arc<Service>,
}

#[tonic::async_trait]
impl GrpcInferenceService for Protocol {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = self.service.ready().is_ok();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let models = self.service.models();
        let ready = models.is_ok_and(|models| find(&models, &name, &version).is_ok());
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: SERVER.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let models = self.service.models().map_err(|refused| as_status(&refused))?;
        let model = find(&models, &name, &version).map_err(|refused| as_status(&refused))?;
        Ok(Response::new(describe(&models, model)))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let timeout = request.metadata().get(TIMEOUT_HEADER).map(|v| v.to_str().unwrap_or("?"));
        let account = self.service.open(PROTOCOL, timeout);
        let mut account = account.map_err(|refused| as_status(&refused))?;
        let deadline = account.deadline();
        let work = infer(&self.service, &mut account, request.into_inner());
        let outcome = in_time(deadline, work).await;
        account.close(outcome.as_ref().map_or_else(|refused| status(refused).as_u16(), |_| 200));
        outcome.map(Response::new).map_err(|refused| as_status(&refused))
    }
}

async fn infer(
    service: &Service,
    account: &mut Account,
    mut request: ModelInferRequest,
) -> Result<ModelInferResponse, ServeError> {
    let models = service.models()?;
    let model = find(&models, &request.model_name, &request.model_version)?;
    account.is_for(model);
    check_outputs(&model.contract, request.outputs.iter().map(|output| output.name.as_str()))?;
    let heads: Vec<Head<'_>> = request.inputs.iter().map(head).collect();
    let rows = rows(&model.contract, &heads)?;
    let room = model.queue.admit(rows)?;
    let raw = !request.raw_input_contents.is_empty();
    let values = check_values(take_values(&mut request)?, rows)?;
    let (scores, _) = service.infer(account, model, room, (values, Duration::ZERO)).await?;
    Ok(reply(request.id, model, (rows, &scores), raw))
}

fn head(input: &InferInputTensor) -> Head<'_> {
    let InferInputTensor { name, datatype, shape, .. } = input;
    Head { name, datatype, shape }
}

/// The one input's values, raw or typed.
fn take_values(request: &mut ModelInferRequest) -> Result<Vec<f32>, ServeError> {
    let typed = request.inputs.first_mut().and_then(|input| input.contents.take());
    match (request.raw_input_contents.as_slice(), typed) {
        ([raw], None) => from_bytes(raw),
        ([], Some(contents)) => Ok(contents.fp32_contents),
        _ => Err(ServeError::Request(
            "the input comes either in raw_input_contents or in contents".to_owned(),
        )),
    }
}

/// Answers in the form in which the request came.
fn reply(
    id: String,
    model: &Model,
    (rows, scores): (usize, &[f32]),
    raw: bool,
) -> ModelInferResponse {
    let typed =
        || InferTensorContents { fp32_contents: scores.to_vec(), ..InferTensorContents::default() };
    let output = InferOutputTensor {
        name: model.contract.output.clone(),
        datatype: FP32.to_owned(),
        shape: output_shape(&model.contract, Some(rows)).to_vec(),
        parameters: HashMap::new(),
        contents: (!raw).then(typed),
    };
    ModelInferResponse {
        model_name: model.labels.model.clone(),
        model_version: model.labels.version.clone(),
        id,
        parameters: HashMap::new(),
        outputs: vec![output],
        raw_output_contents: if raw { vec![to_bytes(scores)] } else { Vec::new() },
    }
}

fn describe(models: &Registry, model: &Model) -> ModelMetadataResponse {
    let contract = &model.contract;
    let tensor = |name: &str, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype: FP32.to_owned(),
        shape: shape.to_vec(),
    };
    ModelMetadataResponse {
        name: model.labels.model.clone(),
        versions: models.versions(&model.labels.model),
        platform: PLATFORM.to_owned(),
        inputs: vec![tensor(&contract.input, &input_shape(contract))],
        outputs: vec![tensor(&contract.output, &output_shape(contract, None))],
        properties: HashMap::from([("weights".to_owned(), model.weights.clone())]),
    }
}

/// Empty asks for the default.
fn find<'m>(models: &'m Registry, name: &str, version: &str) -> Result<&'m Model, ServeError> {
    models.get(Some(name), Some(version).filter(|version| !version.is_empty()))
}

fn as_status(error: &ServeError) -> Status {
    let code = match error {
        ServeError::NotReady(_) | ServeError::Stopped => Code::Unavailable,
        ServeError::Busy
        | ServeError::QueueFull { .. }
        | ServeError::BodyTooLarge { .. }
        | ServeError::Engine(EngineError::OutOfMemory { .. }) => Code::ResourceExhausted,
        ServeError::UnknownModel { .. } => Code::NotFound,
        ServeError::Late => Code::DeadlineExceeded,
        ServeError::BodyBroken(_)
        | ServeError::Encoding(_)
        | ServeError::Request(_)
        | ServeError::Image(_) => Code::InvalidArgument,
        ServeError::Engine(EngineError::Failed(_)) | ServeError::Internal => Code::Internal,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
