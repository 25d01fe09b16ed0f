using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.StatusPort;
using Grpc.AspNetCore.Server;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>vLLM's own gRPC contract on <c>--grpc-port</c>, with <c>--grpc-requests</c>.</summary>
internal static class NativeGrpcServices
{
    /// <summary>Names under which health is asked for.</summary>
    public static readonly string[] Names = ["vllm.Inference", "vllm.Control"];

    /// <summary>
    /// The sidecar spreads its calls over 8 connections; with fewer places on each, requests would wait where neither the worker's own
    /// limits nor its metrics see them.
    /// </summary>
    private const int StreamsPerConnection = 4096;

    public static IServiceCollection AddNativeGrpc(this IServiceCollection services, WorkerSettings settings)
    {
        services.AddSingleton<NativeIntake>();
        if (!settings.Arguments.Host.GrpcRequests)
        {
            return services;
        }

        var bytesMax = BytesMax(settings);
        services.AddGrpc(options => options.MaxReceiveMessageSize = bytesMax);
        services.Configure<KestrelServerOptions>(kestrel => kestrel.Limits.Http2.MaxStreamsPerConnection = StreamsPerConnection);
        return services;
    }

    public static void MapNativeGrpc(this IEndpointRouteBuilder routes)
    {
        const int frameHeaderBytes = 5; // of gRPC, before the message
        var bytesMax = BytesMax(routes.ServiceProvider.GetRequiredService<WorkerSettings>());
        routes.MapGrpcService<InferenceService>().WithMetadata(new RequestSizeLimitAttribute(bytesMax + frameHeaderBytes));
        routes
            .MapGrpcService<ControlService>()
            .Add(endpoint =>
            {
                var method = endpoint.Metadata.OfType<GrpcMethodMetadata>().FirstOrDefault()?.Method.Name;
                if (method is not null && !ControlService.OpenCalls.Contains(method))
                {
                    endpoint.Metadata.Add(TokenRequired.Instance);
                }
            });
    }

    /// <summary>A request is as long as one of the TCP plane may be.</summary>
    private static int BytesMax(WorkerSettings settings) => settings.Runtime.Tcp.FrameBytesMax;
}
