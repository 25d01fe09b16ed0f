using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>LoRA adapters for callers of the contract: the same that the worker's own calls load and unload.</summary>
internal static class AdapterCalls
{
    public static RpcException NotEnabled() => new(new Status(StatusCode.FailedPrecondition, "engine was not started with LoRA enabled"));

    public static string NotLoaded(string name) => $"LoRA adapter `{name}` is not loaded";

    public static ListLorasResponse List(GrpcServing serving)
    {
        var table = serving.Adapters ?? throw NotEnabled();
        var response = new ListLorasResponse();
        response.Adapters.AddRange(table.Loaded.OrderBy(adapter => adapter.Name, StringComparer.Ordinal).Select(Describe));
        return response;
    }

    public static async Task<LoraAdapter> LoadAsync(GrpcServing serving, LoadLoraRequest request, CancellationToken cancellationToken)
    {
        var (table, lifecycle) = Enabled(serving, request.LoraName);
        if (!Path.IsPathFullyQualified(request.SourcePath))
        {
            throw GrpcStatuses.Refused($"source_path must be an absolute path of a folder on this host, got '{request.SourcePath}'");
        }

        if (!serving.Options.LoraEnabled)
        {
            throw new RpcException(
                new Status(StatusCode.FailedPrecondition, "adapters cannot be loaded; start the worker with DYN_LORA_ENABLED=true")
            );
        }

        if (Find(table, request.LoraName) is not null)
        {
            throw new RpcException(new Status(StatusCode.AlreadyExists, $"LoRA adapter `{request.LoraName}` is already loaded"));
        }

        var body = new JsonObject
        {
            ["lora_name"] = request.LoraName,
            ["source"] = new JsonObject { ["uri"] = new Uri(request.SourcePath).AbsoluteUri },
        };
        var reply = await lifecycle.LoadAsync(body, cancellationToken).ConfigureAwait(false);
        return reply.IsSuccess && Find(table, request.LoraName) is { } loaded
            ? Describe(loaded)
            : throw GrpcStatuses.Refused(reply.Message ?? "the adapter cannot be loaded");
    }

    public static async Task<LoraAdapter> UnloadAsync(GrpcServing serving, string name, CancellationToken cancellationToken)
    {
        var (table, lifecycle) = Enabled(serving, name);
        var loaded = Find(table, name) ?? throw new RpcException(new Status(StatusCode.NotFound, NotLoaded(name)));
        var reply = await lifecycle.UnloadAsync(new JsonObject { ["lora_name"] = name }, cancellationToken).ConfigureAwait(false);
        return reply.IsSuccess
            ? Describe(loaded)
            : throw new RpcException(new Status(StatusCode.FailedPrecondition, reply.Message ?? "the adapter cannot be unloaded"));
    }

    private static (AdapterTable Table, AdapterLifecycle Lifecycle) Enabled(GrpcServing serving, string name)
    {
        if (serving is not { Adapters: { } table, AdapterLifecycle: { } lifecycle })
        {
            throw NotEnabled();
        }

        return name.Length > 0 ? (table, lifecycle) : throw GrpcStatuses.Refused("lora_name must not be empty");
    }

    private static LoadedAdapter? Find(AdapterTable table, string name) => table.Loaded.FirstOrDefault(adapter => adapter.Name == name);

    private static LoraAdapter Describe(LoadedAdapter adapter) =>
        new()
        {
            LoraId = adapter.Id,
            LoraName = adapter.Name,
            SourcePath = adapter.Path,
        };
}
