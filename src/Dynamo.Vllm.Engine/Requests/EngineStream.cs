using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using System.Threading.Tasks.Sources;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Outputs of one request between the loop that delivers, which writes, and its handler, which reads.</summary>
/// <remarks>
/// While the reader is behind, new tokens are merged into the output that waits, as vLLM's own collector does, so what is held is bounded
/// by the tokens of the request. Outputs that cannot merge (logprobs) count against <see cref="PendingMax"/>; beyond it the request is
/// aborted, since its client stopped reading. Output objects are reused: nothing is allocated per token in steady state.
/// </remarks>
internal sealed class EngineStream : IEngineStream, IValueTaskSource
{
    /// <summary>Outputs that may wait without being merged. A reader so far behind has stopped reading.</summary>
    private const int PendingMax = 8192;

    private readonly IStreamCommands _commands;
    private readonly Lock _lock = new();
    private readonly Queue<EngineOutput> _pending = new();
    private readonly Stack<EngineOutput> _free = new();
    private EngineOutput? _newest;
    private EngineOutput? _taken;
    private DynamoError? _failure;
    private int _promptTokens = -1;
    private int _cachedTokens = -1;
    private bool _hasEnded;
    private bool _isWaiting;
    private bool _isAnnounced; // whoever delivered to it while it waits has been told to wake it
    private bool _isAborted;
    private bool _isReleased;
    private ManualResetValueTaskSourceCore<bool> _signal;

    public EngineStream(IStreamCommands commands, ulong id)
    {
        _commands = commands;
        Id = id;
    }

    public ulong Id { get; }

    /// <summary>Its reader has taken an output: the first one is never held back.</summary>
    public bool HasBeenRead { get; private set; }

    public ValueTask WaitAsync()
    {
        lock (_lock)
        {
            if (_pending.Count > 0 || _failure is not null)
            {
                return ValueTask.CompletedTask;
            }

            _signal.Reset();
            _signal.RunContinuationsAsynchronously = true; // unless whoever wakes it says otherwise
            _isWaiting = true;
            _isAnnounced = false;
            return new ValueTask(this, _signal.Version);
        }
    }

    public bool TryTake([NotNullWhen(true)] out EngineOutput? output)
    {
        lock (_lock)
        {
            if (_taken is not null)
            {
                _free.Push(_taken);
                _taken = null;
            }

            if (_pending.TryDequeue(out output))
            {
                _taken = output;
                HasBeenRead = true;
                if (ReferenceEquals(_newest, output))
                {
                    _newest = null; // the reader owns it now: nothing may be merged into it
                }

                return true;
            }

            return _failure is null ? false : throw new RequestFailedException(_failure);
        }
    }

    public void Abort()
    {
        lock (_lock)
        {
            if (_hasEnded || _isAborted)
            {
                return;
            }

            _isAborted = true;
        }

        _commands.Abort(Id);
    }

    public void Abandon() => Abort();

    /// <summary>The reader gets the error now; the stream itself lives until the engine has ended it.</summary>
    public void Release(DynamoError error)
    {
        lock (_lock)
        {
            if (_hasEnded || _isReleased)
            {
                return;
            }

            _isReleased = true;
            _failure = error;
        }

        Wake();
    }

    /// <summary>Adds a record, without waking the reader yet.</summary>
    /// <param name="record">Belongs to this stream.</param>
    /// <param name="texts">Texts that logprobs refer to.</param>
    /// <param name="wakes">The reader waits: call <see cref="Wake"/> once the batch has been read to its end.</param>
    /// <returns>True if the stream has ended with it.</returns>
    public bool Deliver(in TokensRecord record, TokenTexts texts, out bool wakes)
    {
        var overflow = false;
        var abortsReleased = false;
        wakes = false;
        lock (_lock)
        {
            if (_hasEnded)
            {
                return true;
            }

            if (_isReleased)
            {
                // A decode worker's request must not be aborted before its first output (Core's AbortGuard): this is it.
                abortsReleased = !record.IsLast && !_isAborted;
                _isAborted |= abortsReleased;
            }
            else
            {
                overflow = Merge(record, texts);
            }

            _hasEnded = record.IsLast;
            wakes = _isWaiting && (!_isAnnounced || record.IsLast); // its end is told also of one that is held back
            _isAnnounced = true;
        }

        if (abortsReleased)
        {
            _commands.Abort(Id);
        }

        if (overflow)
        {
            // Not an abort alone: the reader would take the end for a normal one and never know that tokens are missing.
            _commands.ReportSlowReader(Id, PendingMax);
            Abort();
            Fail(DynamoError.Disconnected($"the response was not read: {PendingMax} outputs waited"));
            return true;
        }

        return record.IsLast;
    }

    /// <returns>True if more waits than a reader may leave.</returns>
    private bool Merge(in TokensRecord record, TokenTexts texts)
    {
        if (record.PromptTokens != TokensRecord.AsBefore)
        {
            (_promptTokens, _cachedTokens) = (record.PromptTokens, record.CachedTokens);
        }

        if (_newest is { CanMerge: true } newest && newest.Index == record.Index && record.IsPlain)
        {
            newest.Append(record.Tokens);
            newest.AppendText(record.Text);
            newest.Update(record.Finish, _promptTokens, _cachedTokens, record.IsLast);
            return false;
        }

        Enqueue(record, texts);
        return _pending.Count > PendingMax && !record.IsLast;
    }

    /// <summary>Wakes the reader, after <see cref="Deliver"/> asked for it; it goes on in a turn of the pool.</summary>
    public void Wake()
    {
        if (TryEndWait())
        {
            _signal.SetResult(true);
        }
    }

    /// <summary>The same, but the reader goes on here, up to where it waits next.</summary>
    public void WakeHere()
    {
        if (TryEndWait())
        {
            _signal.RunContinuationsAsynchronously = false;
            _signal.SetResult(true);
        }
    }

    /// <summary>Ends the stream with an error; outputs that wait are still read first.</summary>
    public void Fail(DynamoError error)
    {
        lock (_lock)
        {
            if (_hasEnded)
            {
                return;
            }

            _hasEnded = true;
            _failure = error;
        }

        Wake();
    }

    void IValueTaskSource.GetResult(short token) => _signal.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _signal.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _signal.OnCompleted(continuation, state, token, flags);

    /// <returns>False if the reader went on meanwhile.</returns>
    private bool TryEndWait()
    {
        lock (_lock)
        {
            var wasWaiting = _isWaiting;
            _isWaiting = false;
            return wasWaiting;
        }
    }

    private void Enqueue(in TokensRecord record, TokenTexts texts)
    {
        var output = _free.TryPop(out var free) ? free : new EngineOutput();
        output.Reset(record.Index, record.Finish, _promptTokens, _cachedTokens, record.IsLast);
        output.Append(record.Tokens);
        output.AppendText(record.Text);
        if (!record.Candidates.IsEmpty)
        {
            output.Logprobs = ReadLogprobs(record, texts);
        }

        if (!record.Extras.IsEmpty)
        {
            ReadExtras(record.Extras, output);
        }

        _pending.Enqueue(output);
        _newest = output;
    }

    private static List<TokenLogprobs> ReadLogprobs(in TokensRecord record, TokenTexts texts)
    {
        var logprobs = new List<TokenLogprobs>(record.Tokens.Length);
        var data = record.Candidates;
        foreach (var token in record.Tokens)
        {
            var count = BinaryPrimitives.ReadInt32LittleEndian(data);
            data = data[4..];
            var top = new TopLogprob[count];
            for (var i = 0; i < count; i++, data = data[16..])
            {
                var id = BinaryPrimitives.ReadInt32LittleEndian(data);
                top[i] = new TopLogprob(
                    id,
                    BinaryPrimitives.ReadInt32LittleEndian(data[4..]),
                    BinaryPrimitives.ReadDoubleLittleEndian(data[8..]),
                    texts.Get(id)
                );
            }

            // The selected token may be missing from the list: then the first entry stands for it, as in the reference.
            var selected = Array.Find(top, candidate => candidate.TokenId == token);
            logprobs.Add(new TokenLogprobs(selected == default && count > 0 ? top[0].Logprob : selected.Logprob, top));
        }

        return logprobs;
    }

    private static void ReadExtras(ReadOnlySpan<byte> json, EngineOutput output)
    {
        var reader = new Utf8JsonReader(json);
        using var document = JsonDocument.ParseValue(ref reader);
        foreach (var property in document.RootElement.EnumerateObject())
        {
            ReadOnlyMemory<byte> raw = System.Text.Encoding.UTF8.GetBytes(property.Value.GetRawText());
            switch (property.Name)
            {
                case "finish_reason":
                    output.FinishText = property.Value.GetString();
                    break;
                case "stop_reason":
                    output.StopReasonJson = raw;
                    break;
                case "prompt_logprobs":
                    output.PromptLogprobsJson = raw;
                    break;
                case "prompt_token_ids":
                    output.PromptTokensJson = raw;
                    break;
                case "kv_transfer_params":
                    output.KvTransferParamsJson = raw;
                    break;
                case "routed_experts":
                    output.RoutedExpertsJson = raw;
                    break;
                case "sampling_mask":
                    output.SamplingMaskJson = raw;
                    output.SamplingMaskRows = property.Value.GetArrayLength();
                    break;
                case "embedding_params":
                    output.EmbeddingParamsJson = raw;
                    break;
                default:
                    break;
            }
        }
    }
}
