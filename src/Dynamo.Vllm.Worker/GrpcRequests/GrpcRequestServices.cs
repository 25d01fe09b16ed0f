using Dynamo.Vllm.Worker.GatewayGrpc;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.NativeGrpc;
using Dynamo.Vllm.Worker.StatusPort;
using Grpc.AspNetCore.Server;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>vLLM's two gRPC contracts on <c>--grpc-port</c>, with <c>--grpc-requests</c>.</summary>
internal static class GrpcRequestServices
{
    /// <summary>Names under which health is asked for.</summary>
    public static readonly string[] Names = ["vllm.Inference", "vllm.Control", "vllm.grpc.engine.VllmEngine"];

    /// <summary>
    /// The sidecar spreads its calls over 8 connections, a gateway over fewer; with fewer places on each, requests would wait where neither
    /// the worker's own limits nor its metrics see them.
    /// </summary>
    private const int StreamsPerConnection = 4096;

    public static IServiceCollection AddGrpcRequests(this IServiceCollection services, WorkerSettings settings)
    {
        services.AddSingleton<GrpcIntake>();
        if (!settings.Arguments.Host.GrpcRequests)
        {
            return services;
        }

        services.AddSingleton<ControlRoutes>();
        services.AddSingleton<KvSubscriptions>();
        services.AddSingleton<TokenizerBundle>();
        var bytesMax = BytesMax(settings);
        services.AddGrpc(options => options.MaxReceiveMessageSize = bytesMax);
        services.Configure<KestrelServerOptions>(kestrel => kestrel.Limits.Http2.MaxStreamsPerConnection = StreamsPerConnection);
        return services;
    }

    public static void MapGrpcRequests(this IEndpointRouteBuilder routes)
    {
        const int frameHeaderBytes = 5; // of gRPC, before the message
        var bytesMax = BytesMax(routes.ServiceProvider.GetRequiredService<WorkerSettings>());
        var size = new RequestSizeLimitAttribute(bytesMax + frameHeaderBytes);
        routes.MapGrpcService<InferenceService>().WithMetadata(size);
        routes.MapGrpcService<ControlService>().Add(endpoint => Guard(endpoint, ControlService.OpenCalls));
        routes.MapGrpcService<EngineService>().WithMetadata(size).Add(endpoint => Guard(endpoint, EngineService.OpenCalls));
    }

    private static void Guard(EndpointBuilder endpoint, IReadOnlySet<string> openCalls)
    {
        var method = endpoint.Metadata.OfType<GrpcMethodMetadata>().FirstOrDefault()?.Method.Name;
        if (method is not null && !openCalls.Contains(method))
        {
            endpoint.Metadata.Add(TokenRequired.Instance);
        }
    }

    /// <summary>A request is as long as one of the TCP plane may be.</summary>
    private static int BytesMax(WorkerSettings settings) => settings.Runtime.Tcp.FrameBytesMax;
}
