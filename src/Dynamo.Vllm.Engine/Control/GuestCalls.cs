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
    public Task<JsonElement> AskAsync(GuestOperation operation, JsonObject? body, CancellationToken cancellationToken) =>
        AskAsync(operation, body, blob: default, cancellationToken);

    /// <summary>As the other, with bytes behind the body. An image call that is given up is stopped in the guest, too.</summary>
    public async Task<JsonElement> AskAsync(
        GuestOperation operation,
        JsonObject? body,
        ReadOnlyMemory<byte> blob,
        CancellationToken cancellationToken
    )
    {
        var id = mailbox.NextId();
        var call = new PendingCall(NeedsEngine: operation is GuestOperation.Call or GuestOperation.EncodeImages);
        // Known before the engine's end is looked at: what EndEngine does not find here finds the reason there.
        _pending[id] = call;
        try
        {
            if (call.NeedsEngine && _engineEnd is { } reason)
            {
                throw EngineDead(reason);
            }

            var json = body is null ? [] : JsonSerializer.SerializeToUtf8Bytes(body, JsonNodeContext.Default.JsonObject);
            if (!mailbox.TryPost(operation, id, json, blob.Span, isUrgent: blob.IsEmpty))
            {
                throw blob.IsEmpty ? EngineDead("the interpreter has ended") : MailboxFull();
            }

            return await call.Answer.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (operation == GuestOperation.EncodeImages)
        {
            mailbox.TryPost(GuestOperation.Abort, id, default, default, isUrgent: true);
            throw;
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

    private static EngineCallException MailboxFull() =>
        new("http", "MailboxFull", "the mailbox of the interpreter is full") { Status = 503 };

    private static EngineCallException EngineDead(string reason, string? traceback = null) =>
        new("engine_dead", "EngineDeadError", reason, traceback);

    /// <param name="NeedsEngine">No answer can come once the engine is gone.</param>
    private sealed record PendingCall(bool NeedsEngine)
    {
        // The delivery loop goes on.
        public TaskCompletionSource<JsonElement> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
