namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>How a collector is spoken to.</summary>
public enum OtlpProtocol
{
    Grpc,
    HttpProtobuf,
}
