using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>The embedding requests that run. Thread-safe.</summary>
internal sealed class PendingEncodes(GuestMailbox mailbox)
{
    private readonly ConcurrentDictionary<ulong, PendingEncode> _running = new();

    public int Count => _running.Count;

    /// <exception cref="RequestFailedException">The mailbox is full.</exception>
    public PendingEncode Start(string requestId, EmbeddingRequest request)
    {
        var json = new ArrayBufferWriter<byte>(512);
        PoolingRequestEncoder.Write(json, requestId, request);
        return Start(json.WrittenSpan, request.Prompts);
    }

    /// <exception cref="RequestFailedException">The mailbox is full.</exception>
    public PendingEncode Start(string requestId, ClassificationRequest request)
    {
        var json = new ArrayBufferWriter<byte>(512);
        PoolingRequestEncoder.Write(json, requestId, request);
        return Start(json.WrittenSpan, request.Prompts);
    }

    private PendingEncode Start(ReadOnlySpan<byte> json, EmbeddingPrompts prompts)
    {
        var pending = new PendingEncode(mailbox.NextId());
        _running[pending.Id] = pending;
        var tokens = MemoryMarshal.AsBytes(prompts.TokenIds.Span);
        if (!mailbox.TryPost(GuestOperation.Encode, pending.Id, json, tokens, isUrgent: false))
        {
            _running.TryRemove(pending.Id, out _);
            throw new RequestFailedException(DynamoError.WorkerOverloaded("the mailbox of the interpreter is full"));
        }

        return pending;
    }

    /// <summary>The answer. A caller that gives up goes at once; the guest takes the prompts out of the engine.</summary>
    public async Task<PromptVectors> WaitAsync(PendingEncode pending, CancellationToken cancellationToken)
    {
        using var registration = cancellationToken.UnsafeRegister(
            _ =>
            {
                if (pending.TryCancel(cancellationToken))
                {
                    Abort(pending.Id);
                }
            },
            null
        );
        return await pending.Answer.ConfigureAwait(false);
    }

    public void Complete(ulong id, PromptVectors vectors)
    {
        if (_running.TryRemove(id, out var pending))
        {
            pending.Complete(vectors);
        }
    }

    public void Fail(ulong id, DynamoError error)
    {
        if (_running.TryRemove(id, out var pending))
        {
            pending.Fail(error);
        }
    }

    /// <summary>For the callers they end now; they stay known until the guest, when it listens again, has answered.</summary>
    public void ReleaseAll(DynamoError error)
    {
        foreach (var (id, pending) in _running)
        {
            pending.Fail(error);
            Abort(id);
        }
    }

    public void FailAll(DynamoError error)
    {
        foreach (var (id, _) in _running)
        {
            Fail(id, error);
        }
    }

    private void Abort(ulong id) => mailbox.TryPost(GuestOperation.Abort, id, default, default, isUrgent: true);
}
