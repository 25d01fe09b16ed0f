using System.Globalization;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>Errors of the worker as gRPC's.</summary>
internal static class GrpcStatuses
{
    /// <summary>A control call that cannot be made as it is.</summary>
    public static RpcException Refused(string text) => new(new Status(StatusCode.InvalidArgument, text));

    /// <summary>The engine ended a request in a way that no contract has a word for.</summary>
    public static RequestFailedException NoWordFor(EngineOutput output) =>
        new(
            DynamoError.Unknown(
                output.Finish == FinishReason.NoOutputs
                    ? "No outputs from vLLM engine"
                    : "the engine ended the choice with "
                        + $"'{output.FinishText ?? output.Finish.ToString().ToLower(CultureInfo.InvariantCulture)}'"
            )
        );

    /// <param name="error">Of a request.</param>
    /// <param name="hasEngineDied">Otherwise an engine that ends is one that is told to: the same request may be served elsewhere.</param>
    public static Status Of(DynamoError error, bool hasEngineDied) =>
        new(
            error.Class switch
            {
                DynamoError.InvalidRequestClass or "UnsupportedMedia" => StatusCode.InvalidArgument,
                "NotFound" => StatusCode.NotFound,
                "PermissionDenied" => StatusCode.PermissionDenied,
                "RateLimited" or "CapacityExhausted" => StatusCode.ResourceExhausted,
                "DeadlineExceeded" => StatusCode.DeadlineExceeded,
                "Cancelled" => StatusCode.Cancelled,
                "Unavailable" when !hasEngineDied => StatusCode.Unavailable,
                _ => StatusCode.Internal,
            },
            error.Text
        );
}
