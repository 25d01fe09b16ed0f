using System.Buffers;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Control;
using Dynamo.Vllm.Engine.Direct;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.ImageEncoding;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Python.Interpreter;
using Dynamo.Vllm.Python.Locating;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine;

/// <summary>vLLM in the embedded interpreter: requests and calls go in as messages, outputs come back one batch per engine step.</summary>
/// <remarks>
/// One delivery loop reads the batches and splits them by request. Members are thread-safe and none takes the interpreter lock.
/// After <see cref="Died"/> every stream has failed and every call fails at once.
/// </remarks>
public sealed partial class VllmEngine : IEngine, IPoolingEngine, ITextEngine, IVisionEngine
{
    private readonly PythonHost _host;
    private readonly ILogger<VllmEngine> _logger;
    private readonly GuestMailbox _mailbox;
    private readonly GuestCalls _calls;
    private readonly EngineStreams _streams;
    private readonly ItemPace? _pace;
    private readonly PendingEncodes _encodes;
    private readonly LoadListeners _load;
    private readonly GuestDelivery _delivery;
    private readonly StepCounter _steps = new();
    private readonly MemoryGroup? _memory = MemoryGroup.OfThisProcess();
    private readonly DirectDrive? _direct;
    private readonly string? _socketFolder;

    // The delivery loop goes on.
    private readonly TaskCompletionSource<string> _died = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private EngineDescription? _description;
    private long _interpreterRequests;
    private int _imageRequests;
    private volatile bool _isStopping;

    public VllmEngine(PythonInstallation python, VllmEngineOptions options, ILoggerFactory loggers)
    {
        _logger = loggers.CreateLogger<VllmEngine>();
        var settings = new JsonObject
        {
            ["drive"] = options.Drive,
            ["simulated_path"] = options.SimulatedPath,
            ["error_descriptor"] = options.ErrorDescriptor,
        };
        _host = new PythonHost(python, new GuestProgram(GuestSources.Load(), GuestSources.EntryModule, settings.ToJsonString()));
        _mailbox = new GuestMailbox(_host);
        _calls = new GuestCalls(_mailbox);
        var commands = new StreamCommands(_mailbox, _logger);
        _pace = options.ItemInterval > TimeSpan.Zero ? new ItemPace(options.ItemInterval, options.Time) : null;
        _streams = new EngineStreams(commands, _pace);
        _encodes = new PendingEncodes(_mailbox);
        _load = new LoadListeners(_logger);
        _socketFolder = options.SocketFolder;
        if (options.Drive == "direct")
        {
            var report = new StatisticsReport(_mailbox, options.Time);
            _direct = new DirectDrive(_streams, commands, report, _load, _steps, GiveUp, options.Time, _logger);
        }

        _delivery = new GuestDelivery(_streams, _encodes, _calls, _load, _steps, Learn, GiveUp, loggers, _logger);
        Control = new VllmEngineControl(_calls, () => _direct?.SendStatistics());
    }

    public event Action<EngineLoad>? LoadChanged
    {
        add => _load.Add(value!);
        remove => _load.Remove(value!);
    }

    public EngineDescription Description => _description ?? throw new InvalidOperationException("the engine has not started");

    public int RunningRequests => _streams.Count + _encodes.Count + Volatile.Read(ref _imageRequests);

    public long Steps => _steps.Value;

    /// <summary>Requests that were given to the engine's process itself.</summary>
    public long DirectRequests => _direct?.Requests ?? 0;

    /// <summary>Requests that were given to vLLM's front end.</summary>
    public long InterpreterRequests => Volatile.Read(ref _interpreterRequests);

    /// <summary>How far the fetch of the model is; null before anything is known, and without a fetch.</summary>
    public FetchProgress? Fetched => _delivery.Fetched;

    public Task<string> Died => _died.Task;

    public IEngineControl Control { get; }

    /// <summary>Ends when the Python thread has left the guest; null unless it failed.</summary>
    public Task<string?> GuestCompletion => _host.Completion;

    /// <summary>Starts the interpreter. The engine itself follows with <see cref="ParseAsync"/> and <c>BuildAsync</c>.</summary>
    public void StartInterpreter()
    {
        _host.Start();
        _ = Task.Run(() => _delivery.RunAsync(_host.Batches));
        _ = WatchGuestAsync();
    }

    /// <summary>vLLM's own parser over the arguments that are not ours.</summary>
    /// <exception cref="EngineCallException">Kind <c>usage</c>: the message is what the parser printed.</exception>
    public async Task<ParsedArguments> ParseAsync(IReadOnlyList<string> arguments, CancellationToken cancellationToken)
    {
        var body = new JsonObject { ["arguments"] = new JsonArray([.. arguments.Select(argument => JsonValue.Create(argument))]) };
        var parsed = await _calls.AskAsync(GuestOperation.Parse, body, cancellationToken).ConfigureAwait(false);
        return new ParsedArguments(JsonObject.Create(parsed.GetProperty("values"))!, parsed.GetProperty("model").GetString());
    }

    /// <summary>Brings a model into the hub's cache on this host. Takes as long as it takes; see <see cref="Fetched"/> meanwhile.</summary>
    /// <exception cref="EngineCallException">Kind <c>fetch</c>: the message is one line for the operator.</exception>
    public async Task<FetchedModel> FetchAsync(ModelRequest request, CancellationToken cancellationToken)
    {
        var body = new JsonObject
        {
            ["model"] = request.Model,
            ["revision"] = request.Revision,
            ["load_format"] = request.LoadFormat,
            ["weights"] = request.WithWeights,
        };
        var fetched = await _calls.AskAsync(GuestOperation.Fetch, body, cancellationToken).ConfigureAwait(false);
        return new FetchedModel(fetched.GetProperty("folder").GetString()!, fetched.GetProperty("asked").GetBoolean());
    }

    /// <summary>Help of the engine options.</summary>
    public async Task<string> HelpAsync(CancellationToken cancellationToken) =>
        (await _calls.AskAsync(GuestOperation.Help, null, cancellationToken).ConfigureAwait(false)).GetString() ?? "";

    /// <summary>A whole engine, which makes embeddings of images itself.</summary>
    public Task BuildAsync(JsonObject overrides, JsonObject environment, CancellationToken cancellationToken) =>
        BuildAsync(overrides, environment, vision: null, embeddingsBy: null, cancellationToken);

    /// <summary>Loads the model and starts the engine's processes. Takes as
    /// long as it takes; the interpreter is busy all the while.</summary>
    /// <param name="overrides">Engine arguments that the worker sets, over those parsed.</param>
    /// <param name="environment">Variables to set for vLLM and its children first; null removes.</param>
    /// <param name="vision">How images are encoded and kept; null unless that is all that is done with the model.</param>
    /// <param name="embeddingsBy">How embeddings of encode workers are taken; null where there are none.</param>
    /// <param name="cancellationToken">Stops the wait, not the load.</param>
    public async Task BuildAsync(
        JsonObject overrides,
        JsonObject environment,
        JsonObject? vision,
        string? embeddingsBy,
        CancellationToken cancellationToken
    )
    {
        var body = new JsonObject
        {
            ["overrides"] = overrides,
            ["environment"] = environment,
            ["direct"] = vision is null ? _direct?.Offer(_socketFolder) : null,
            ["vision"] = vision,
            ["embeddings_by"] = embeddingsBy,
        };
        try
        {
            var facts = await _calls.AskAsync(GuestOperation.Build, body, cancellationToken).ConfigureAwait(false);
            _description = EngineFacts.Read(facts);
            if (_direct is not null)
            {
                await _direct.OpenAsync(facts.GetProperty("direct").GetString(), cancellationToken).ConfigureAwait(false);
            }
        }
        catch // cleanup (style E3): the process may end now, and leave files behind
        {
            TellKills();
            await (_direct?.WithdrawAsync() ?? Task.CompletedTask).ConfigureAwait(false);
            throw;
        }
    }

    public IEngineStream Submit(EngineRequest request)
    {
        RefuseIfDead();
        var buffer = new ArrayBufferWriter<byte>(512);
        using var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { SkipValidation = true });
        RequestEncoder.WriteShared(json, request);
        var id = _mailbox.NextId();
        int? question = null;
        if (_direct is not null && _direct.TrySubmit(request, buffer.WrittenSpan, id, out var stream, out question))
        {
            FailIfDead();
            return stream;
        }

        RequestEncoder.WriteOwn(json, request, question);
        try
        {
            var tokens = request.Options.PromptEmbeds is { Length: > 0 } ? [] : request.Options.TokenIds;
            return Post(id, buffer.WrittenSpan, MediaFields.Append(MemoryMarshal.AsBytes(tokens.AsSpan()), request.Media));
        }
        catch (RequestFailedException) when (question is { } unasked)
        {
            _direct?.Retract(unasked);
            throw;
        }
    }

    public IEngineStream Submit(TextEngineRequest request)
    {
        RefuseIfDead();
        var json = new ArrayBufferWriter<byte>(512);
        TextRequestEncoder.Write(json, request);
        return Post(_mailbox.NextId(), json.WrittenSpan, MemoryMarshal.AsBytes(request.Options.Prompt.TokenIds.AsSpan()));
    }

    public Task<PromptVectors> EncodeAsync(string requestId, EmbeddingRequest request, CancellationToken cancellationToken) =>
        EncodeAsync(() => _encodes.Start(requestId, request), cancellationToken);

    public Task<PromptVectors> EncodeAsync(string requestId, ClassificationRequest request, CancellationToken cancellationToken) =>
        EncodeAsync(() => _encodes.Start(requestId, request), cancellationToken);

    public async Task<IReadOnlyList<EncodedImage>> EncodeImagesAsync(
        IReadOnlyList<ReadOnlyMemory<byte>> images,
        string? scope,
        CancellationToken cancellationToken
    )
    {
        var body = new JsonObject
        {
            ["lengths"] = new JsonArray([.. images.Select(image => JsonValue.Create(image.Length))]),
            ["scope"] = scope,
        };
        Interlocked.Increment(ref _imageRequests);
        try
        {
            var answer = await _calls.AskAsync(GuestOperation.EncodeImages, body, Join(images), cancellationToken).ConfigureAwait(false);
            return [.. answer.EnumerateArray().Select(ReadEncoded)];
        }
        catch (EngineCallException failure)
        {
            throw new RequestFailedException(FailureMapping.ToError(failure), failure);
        }
        finally
        {
            Interlocked.Decrement(ref _imageRequests);
        }
    }

    public void ReleaseRequests(DynamoError error)
    {
        _streams.ReleaseAll(error);
        _encodes.ReleaseAll(error);
    }

    /// <summary>Ends the engine and its processes, then the guest.</summary>
    /// <param name="engineTimeout">How long the engine may finish running requests; 0 aborts them.</param>
    /// <param name="cancellationToken">Gives up waiting: the caller then kills the children.</param>
    public async Task ShutdownAsync(TimeSpan engineTimeout, CancellationToken cancellationToken)
    {
        _isStopping = true;
        _direct?.ExpectEnd();
        var body = new JsonObject { ["timeout"] = engineTimeout.TotalSeconds };
        try
        {
            await _calls.AskAsync(GuestOperation.Shutdown, body, cancellationToken).ConfigureAwait(false);
        }
        catch (EngineCallException) when (_host.Completion is { IsCompletedSuccessfully: true, Result: null })
        {
            // The guest has ended as it was asked to, and its end was seen before its answer was read.
        }

        await _host.Completion.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The engine does not answer any more: fails what runs, and every later request.</summary>
    public void GiveUp(string reason)
    {
        if (_died.TrySetResult(reason))
        {
            TellKills();
            _direct?.Close();
            FailRequests(reason);
            _calls.EndEngine(reason);
        }
    }

    private static EncodedImage ReadEncoded(JsonElement image)
    {
        var grid = image.GetProperty("grid");
        return new EncodedImage
        {
            Grid = grid.ValueKind == JsonValueKind.Array ? new JsonArray(JsonArray.Create(grid)) : null,
            Shape = JsonArray.Create(image.GetProperty("shape")),
            Transfer = JsonObject.Create(image.GetProperty("transfer")),
        };
    }

    private static byte[] Join(IReadOnlyList<ReadOnlyMemory<byte>> images)
    {
        var joined = new byte[images.Sum(image => image.Length)]; // MediaLoader keeps the sum within an int
        var position = 0;
        foreach (var image in images)
        {
            image.Span.CopyTo(joined.AsSpan(position));
            position += image.Length;
        }

        return joined;
    }

    private async Task<PromptVectors> EncodeAsync(Func<PendingEncode> start, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RefuseIfDead();
        var pending = start();
        FailIfDead();
        return await _encodes.WaitAsync(pending, cancellationToken).ConfigureAwait(false);
    }

    /// <param name="id">Of the stream.</param>
    /// <param name="json">The request's fields.</param>
    /// <param name="blob">Token ids of its prompt, and behind them its media.</param>
    private EngineStream Post(ulong id, ReadOnlySpan<byte> json, ReadOnlySpan<byte> blob)
    {
        var stream = _streams.Add(id);
        if (!_mailbox.TryPost(GuestOperation.Submit, stream.Id, json, blob, isUrgent: false))
        {
            _streams.Remove(stream.Id);
            throw new RequestFailedException(DynamoError.WorkerOverloaded("the mailbox of the interpreter is full"));
        }

        Interlocked.Increment(ref _interpreterRequests);
        FailIfDead();
        return stream;
    }

    private void RefuseIfDead()
    {
        if (_died.Task.IsCompleted)
        {
            throw new RequestFailedException(DynamoError.EngineShutdown("the engine has ended"));
        }
    }

    /// <summary>It may have ended between <see cref="RefuseIfDead"/> and
    /// the registration: then nobody will fail this request but us.</summary>
    private void FailIfDead()
    {
        if (_died.Task.IsCompleted)
        {
            FailRequests("the engine has ended");
        }
    }

    /// <summary>An engine that is killed for want of memory cannot say so itself.</summary>
    private void TellKills()
    {
        if (_memory?.DescribeKills() is { } kills)
        {
            LogKills(_logger, kills);
        }
    }

    private void Learn(GuestTemplate taught) => _direct?.Learn(taught);

    private void FailRequests(string reason)
    {
        _streams.FailAll(DynamoError.EngineShutdown(reason));
        _encodes.FailAll(DynamoError.EngineShutdown(reason));
    }

    private async Task WatchGuestAsync()
    {
        var failure = await _host.Completion.ConfigureAwait(false);
        var reason = failure is null ? "the interpreter has ended" : "the interpreter failed";
        if (failure is not null && !_isStopping)
        {
            LogGuestFailed(_logger, failure);
        }

        GiveUp(reason);
        _calls.EndGuest(reason, failure);
    }

    [LoggerMessage(EventId = 4010, Level = LogLevel.Error, Message = "What the engine's end may come from: {Kills}")]
    private static partial void LogKills(ILogger logger, string kills);

    [LoggerMessage(EventId = 4002, Level = LogLevel.Critical, Message = "The embedded interpreter failed: {Traceback}")]
    private static partial void LogGuestFailed(ILogger logger, string traceback);
}
