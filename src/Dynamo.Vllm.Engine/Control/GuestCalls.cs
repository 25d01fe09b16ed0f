using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;

namespace Dynamo.Vllm.Engine.Control;

/// <summary>Questions to the guest and their answers. Thread-safe; each call ends once, also when the engine or the guest does.</summary>
internal sealed class GuestCalls(GuestMailbox mailbox)
{
    private readonly ConcurrentDictionary<ulong, PendingCall> _pending = new();
    private volatile string? _engineEnd;

    /// <exception cref="EngineCallException">Refused, failed, or nobody is left to answer.</exception>
    public async Task<JsonElement> AskAsync(GuestOperation operation, JsonObject? body, CancellationToken cancellationToken)
    {
        var id = mailbox.NextId();
        var call = new PendingCall(NeedsEngine: operation == GuestOperation.Call);
        // Known before the engine's end is looked at: what EndEngine does not find here finds the reason there.
        _pending[id] = call;
        try
        {
            if (call.NeedsEngine && _engineEnd is { } reason)
            {
                throw EngineDead(reason);
            }

            var json = body is null ? [] : JsonSerializer.SerializeToUtf8Bytes(body, JsonNodeContext.Default.JsonObject);
            if (!mailbox.TryPost(operation, id, json, default, isUrgent: true))
            {
                throw EngineDead("the interpreter has ended");
            }

            return await call.Answer.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _pending.TryRemove(id, out _);
        }
    }

    /// <summary>No-op for a call whose caller gave up.</summary>
    public void Answer(ulong id, JsonElement value)
    {
        if (_pending.TryRemove(id, out var call))
        {
            call.Answer.TrySetResult(value);
        }
    }

    public void Fail(ulong id, EngineCallException failure)
    {
        if (_pending.TryRemove(id, out var call))
        {
            call.Answer.TrySetException(failure);
        }
    }

    /// <summary>Calls that only the engine could answer fail, now and from now on.</summary>
    /// <remarks>What the guest does by itself still gets an answer.</remarks>
    public void EndEngine(string reason)
    {
        _engineEnd = reason;
        FailWhere(call => call.NeedsEngine, () => EngineDead(reason));
    }

    public void EndGuest(string reason, string? traceback) => FailWhere(_ => true, () => EngineDead(reason, traceback));

    private void FailWhere(Predicate<PendingCall> which, Func<EngineCallException> failure)
    {
        foreach (var (id, call) in _pending)
        {
            if (which(call))
            {
                Fail(id, failure());
            }
        }
    }

    private static EngineCallException EngineDead(string reason, string? traceback = null) =>
        new("engine_dead", "EngineDeadError", reason, traceback);

    /// <param name="NeedsEngine">No answer can come once the engine is gone.</param>
    private sealed record PendingCall(bool NeedsEngine)
    {
        // The delivery loop goes on.
        public TaskCompletionSource<JsonElement> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
