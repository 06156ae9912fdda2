//! The open inference protocol v2, spoken by NVIDIA's Python clients and by our own generated one.

use crate::support::{Server, model, python, red};
use spotscale_proto::inference::{
    InferTensorContents, ModelInferRequest,
    grpc_inference_service_client::GrpcInferenceServiceClient,
    model_infer_request::InferInputTensor,
};
use tonic::Code;

const PICTURE_LEN: usize = 3 * 224 * 224;

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_works_unchanged() {
    let server = Server::start(&[&model("tiny", "logits.onnx@7"), "--max-batch=8"]).await;
    let (http, grpc) = (server.at.http.to_string(), server.at.grpc.to_string());
    let drive = move || python("triton_client.py", &[&http, &grpc, "tiny", "7"]);
    let said = tokio::task::spawn_blocking(drive).await.unwrap();
    assert!(said.contains("both clients are served"), "{said}");
    let metrics = server.get("/metrics").await.text();
    for protocol in ["grpc", "v2"] {
        let counted = format!(
            "spotscale_inference_requests_total{{model=\"tiny\",version=\"7\",protocol=\"{protocol}\",code=\"200\"}}"
        );
        assert!(metrics.contains(&counted), "{counted} is not in\n{metrics}");
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_tensors_are_answered_typed() {
    let server = Server::start(&[&model("tiny", "logits.onnx")]).await;
    let mut client = client(&server).await;
    let mut values = vec![-1.0; PICTURE_LEN];
    values[PICTURE_LEN / 3..2 * PICTURE_LEN / 3].fill(1.0);
    let reply = client.model_infer(typed(values)).await.unwrap().into_inner();
    assert!(reply.raw_output_contents.is_empty());
    let scores = &reply.outputs[0].contents.as_ref().unwrap().fp32_contents;
    assert_eq!(reply.outputs[0].shape, [1, 10]);
    assert!((scores[1] - 4.0).abs() < 1e-3, "{scores:?}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_refusals_carry_their_code() {
    let server = Server::start(&[&model("tiny", "logits.onnx"), "--max-body=700000"]).await;
    let mut client = client(&server).await;
    let mut code = async |request| client.model_infer(request).await.unwrap_err().code();
    assert_eq!(code(typed(vec![0.0; 7])).await, Code::InvalidArgument);
    let mut both = typed(vec![0.0; PICTURE_LEN]);
    both.raw_input_contents.push(vec![0; 4]);
    assert_eq!(code(both).await, Code::InvalidArgument);
    let unknown = ModelInferRequest { model_name: "nobody".into(), ..typed(Vec::new()) };
    assert_eq!(code(unknown).await, Code::NotFound);
    let large =
        ModelInferRequest { raw_input_contents: vec![vec![0; 700_001]], ..typed(Vec::new()) };
    assert_eq!(code(large).await, Code::OutOfRange);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_refusals_carry_a_string_as_the_protocol_asks() {
    let server = Server::start(&[&model("tiny", "logits.onnx")]).await;
    let infer = http::Request::post("/v2/models/tiny/infer");
    let reply = server.send(infer, red()).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.json()["error"].as_str().is_some_and(|text| text.starts_with("JSON")),
        "{reply:?}"
    );
    assert_eq!(server.get("/v2/models/nobody").await.status, 404);
    assert_eq!(server.get("/v2/models/nobody/ready").await.status, 404);
    server.stop().await.unwrap();
}

async fn client(server: &Server) -> GrpcInferenceServiceClient<tonic::transport::Channel> {
    GrpcInferenceServiceClient::connect(format!("http://{}", server.at.grpc)).await.unwrap()
}

fn typed(values: Vec<f32>) -> ModelInferRequest {
    let contents = InferTensorContents { fp32_contents: values, ..InferTensorContents::default() };
    let input = InferInputTensor {
        name: "data".into(),
        datatype: "FP32".into(),
        shape: vec![1, 3, 224, 224],
        contents: Some(contents),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: "tiny".into(),
        inputs: vec![input],
        ..ModelInferRequest::default()
    }
}
