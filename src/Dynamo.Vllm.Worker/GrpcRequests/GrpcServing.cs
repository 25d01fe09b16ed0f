using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Control;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>What calls in vLLM's gRPC contracts are answered from, once the worker serves.</summary>
internal sealed record GrpcServing
{
    public required WorkerConfiguration Configuration { get; init; }

    /// <summary>Of the model's files on this host.</summary>
    public required string ModelFolder { get; init; }

    public required IEngine Engine { get; init; }

    public required RequestDispatcher Dispatcher { get; init; }

    /// <summary>In whose books such requests are, so that they are drained, cancelled and turned away with Dynamo's.</summary>
    public required ServedEndpoint Generate { get; init; }

    public required GenerateOptions Options { get; init; }

    /// <summary>Null unless the engine takes adapters.</summary>
    public required AdapterTable? Adapters { get; init; }

    /// <summary>Likewise.</summary>
    public required AdapterLifecycle? AdapterLifecycle { get; init; }

    public required GenerationPause Pause { get; init; }

    public required WorkerRegistration Registration { get; init; }

    public required LoadBook Loads { get; init; }

    /// <summary>Brings the engine's cache events, to each who asks by a connection of its own.</summary>
    public required IEngineEventFeed Events { get; init; }

    /// <summary>One that does not run, or no more, is no mistake.</summary>
    public void Abort(IEnumerable<string> requestIds)
    {
        foreach (var id in requestIds)
        {
            Generate.Cancel(id, CancellationCause.Operator);
        }
    }
}
