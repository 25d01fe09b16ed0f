using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>One request of another protocol than Dynamo's, which reads it itself and is answered with the engine's own outputs.</summary>
/// <remarks>All that a request of Dynamo's is checked for, this one is, too.</remarks>
public sealed class OutputHandler : GenerateHandler
{
    private readonly Func<(PreprocessedRequest Request, EngineText? Text)> _read;
    private readonly Func<EngineOutput, ValueTask> _write;
    private EngineText? _text;

    /// <param name="engine">Serves it.</param>
    /// <param name="options">Of the worker.</param>
    /// <param name="adapters">The LoRA adapters that are loaded; null unless the engine takes some.</param>
    /// <param name="read">What was asked for, and what of it is text; null for nothing. Throws as a handler does.</param>
    /// <param name="write">Takes each output, and waits while the caller does not read.</param>
    public OutputHandler(
        IEngine engine,
        GenerateOptions options,
        AdapterTable? adapters,
        Func<(PreprocessedRequest Request, EngineText? Text)> read,
        Func<EngineOutput, ValueTask> write
    )
        : base(engine, options, adapters)
    {
        _read = read;
        _write = write;
    }

    protected override PreprocessedRequest Read(RequestContext context)
    {
        (var request, _text) = _read();
        return request;
    }

    protected override async Task ServeAsync(
        RequestContext context,
        PreprocessedRequest request,
        EngineMedia? media,
        LoadedAdapter? adapter,
        IResponseWriter responses
    )
    {
        var kvTransferParams = request.KvTransferParamsJson;
        if (context.IsCallerGone && kvTransferParams is null)
        {
            return; // with blocks staged in another engine it still runs: only the pull releases them there
        }

        var stream = Engine.Submit(
            BuildEngineRequest(
                context,
                request,
                media,
                adapter,
                ResolveMaxTokens(request),
                request.StopConditions.MinTokens,
                kvTransferParams,
                _text
            )
        );
        // While blocks are pulled from another engine this one must not be disturbed, as on a decode worker.
        var guard = new AbortGuard(stream, holdUntilFirstOutput: kvTransferParams is not null);
        await EngineStreamPump.RunAsync(
            context,
            stream,
            guard,
            output =>
                context.Cause == CancellationCause.Shutdown && output.Finish == FinishReason.Abort
                    ? ValueTask.CompletedTask // the error that follows says what happened
                    : _write(output)
        );
    }
}
