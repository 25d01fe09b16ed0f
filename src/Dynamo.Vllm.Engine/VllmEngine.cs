using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Python.Interpreter;
using Dynamo.Vllm.Python.Locating;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine;

/// <summary>vLLM in the embedded interpreter: requests and calls go in as messages, outputs come back one batch per engine step.</summary>
/// <remarks>
/// One delivery loop reads the batches and splits them by request. Members are thread-safe and none takes the interpreter lock.
/// After <see cref="Died"/> every stream has failed and every call fails at once.
/// </remarks>
public sealed partial class VllmEngine : IEngine
{
    private readonly PythonHost _host;
    private readonly TimeProvider _time;
    private readonly ILogger<VllmEngine> _logger;
    private readonly ILoggerFactory _loggers;
    private readonly ConcurrentDictionary<ulong, EngineStream> _streams = new();
    private readonly ConcurrentDictionary<ulong, PendingCall> _calls = new();
    private readonly TokenTexts _texts = new();

    // The delivery loop goes on.
    private readonly TaskCompletionSource<string> _died = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ConcurrentDictionary<string, ILogger> _pythonLoggers = new();
    private EngineDescription? _description;
    private ulong _nextId;
    private long _steps;
    private volatile bool _isStopping;

    public VllmEngine(PythonInstallation python, VllmEngineOptions options, TimeProvider time, ILoggerFactory loggers)
    {
        _time = time;
        _loggers = loggers;
        _logger = loggers.CreateLogger<VllmEngine>();
        var settings = new JsonObject
        {
            ["drive"] = options.Drive,
            ["simulated_path"] = options.SimulatedPath,
            ["error_descriptor"] = options.ErrorDescriptor,
        };
        _host = new PythonHost(python, new GuestProgram(GuestSources.Load(), GuestSources.EntryModule, settings.ToJsonString()));
    }

    public event Action<EngineLoad>? LoadChanged;

    public EngineDescription Description => _description ?? throw new InvalidOperationException("the engine has not started");

    public int RunningRequests => _streams.Count;

    public long Steps => Volatile.Read(ref _steps);

    public Task<string> Died => _died.Task;

    /// <summary>Ends when the Python thread has left the guest; null unless it failed.</summary>
    public Task<string?> GuestCompletion => _host.Completion;

    /// <summary>Starts the interpreter. The engine itself follows with <see cref="ParseAsync"/> and <see cref="BuildAsync"/>.</summary>
    public void StartInterpreter()
    {
        _host.Start();
        _ = Task.Run(DeliverAsync);
        _ = WatchGuestAsync();
    }

    /// <summary>vLLM's own parser over the arguments that are not ours.</summary>
    /// <returns>Value of every engine argument.</returns>
    /// <exception cref="EngineCallException">Kind <c>usage</c>: the message is what the parser printed.</exception>
    public async Task<JsonObject> ParseAsync(IReadOnlyList<string> arguments, CancellationToken cancellationToken)
    {
        var body = new JsonObject { ["arguments"] = new JsonArray([.. arguments.Select(argument => JsonValue.Create(argument))]) };
        var values = await AskAsync(GuestOperation.Parse, body, cancellationToken).ConfigureAwait(false);
        return JsonObject.Create(values)!;
    }

    /// <summary>Help of the engine options.</summary>
    public async Task<string> HelpAsync(CancellationToken cancellationToken) =>
        (await AskAsync(GuestOperation.Help, null, cancellationToken).ConfigureAwait(false)).GetString() ?? "";

    /// <summary>Loads the model and starts the engine's processes. Takes as
    /// long as it takes; the interpreter is busy all the while.</summary>
    /// <param name="overrides">Engine arguments that the worker sets, over those parsed.</param>
    /// <param name="environment">Variables to set for vLLM and its children first; null removes.</param>
    /// <param name="cancellationToken">Stops the wait, not the load.</param>
    public async Task BuildAsync(JsonObject overrides, JsonObject environment, CancellationToken cancellationToken)
    {
        var body = new JsonObject { ["overrides"] = overrides, ["environment"] = environment };
        var facts = await AskAsync(GuestOperation.Build, body, cancellationToken).ConfigureAwait(false);
        _description = EngineFacts.Read(facts);
    }

    public IEngineStream Submit(EngineRequest request)
    {
        if (_died.Task.IsCompleted)
        {
            throw new RequestFailedException(DynamoError.EngineShutdown("the engine has ended"));
        }

        var id = Interlocked.Increment(ref _nextId);
        var json = new ArrayBufferWriter<byte>(512);
        RequestEncoder.Write(json, request);
        var stream = new EngineStream(this, id);
        _streams[id] = stream;
        var ids = request.Options.PromptEmbeds is { Length: > 0 } ? [] : request.Options.TokenIds;
        if (
            !Post(
                GuestOperation.Submit,
                id,
                json.WrittenSpan,
                System.Runtime.InteropServices.MemoryMarshal.AsBytes(ids.AsSpan()),
                isUrgent: false
            )
        )
        {
            _streams.TryRemove(id, out _);
            throw new RequestFailedException(DynamoError.WorkerOverloaded("the mailbox of the interpreter is full"));
        }

        if (_died.Task.IsCompleted)
        {
            // It ended between the check above and the registration, so nobody will fail this stream but us.
            FailAll(DynamoError.EngineShutdown("the engine has ended"));
        }

        return stream;
    }

    public void ReleaseRequests(DynamoError error)
    {
        foreach (var (_, stream) in _streams)
        {
            stream.Release(error); // stays known until the engine has let go of it
        }
    }

    public Task<JsonElement> CallAsync(string method, JsonObject? arguments, CancellationToken cancellationToken) =>
        AskAsync(GuestOperation.Call, new JsonObject { ["method"] = method, ["arguments"] = arguments }, cancellationToken);

    /// <summary>Ends the engine and its processes, then the guest.</summary>
    /// <param name="engineTimeout">How long the engine may finish running requests; 0 aborts them.</param>
    /// <param name="cancellationToken">Gives up waiting: the caller then kills the children.</param>
    public async Task ShutdownAsync(TimeSpan engineTimeout, CancellationToken cancellationToken)
    {
        _isStopping = true;
        var body = new JsonObject { ["timeout"] = engineTimeout.TotalSeconds };
        try
        {
            await AskAsync(GuestOperation.Shutdown, body, cancellationToken).ConfigureAwait(false);
        }
        catch (EngineCallException) when (_host.Completion is { IsCompletedSuccessfully: true, Result: null })
        {
            // The guest has ended as it was asked to, and its end was seen before its answer was read.
        }

        await _host.Completion.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    internal void Abort(ulong stream) => Post(GuestOperation.Abort, stream, default, default, isUrgent: true);

    internal void ReportSlowReader(ulong stream, int pending) => LogSlowReader(_logger, stream, pending);

    private async Task<JsonElement> AskAsync(GuestOperation operation, JsonObject? body, CancellationToken cancellationToken)
    {
        var id = Interlocked.Increment(ref _nextId);
        var call = new PendingCall(NeedsEngine: operation == GuestOperation.Call);
        _calls[id] = call;
        try
        {
            if (call.NeedsEngine && _died.Task is { IsCompleted: true } died)
            {
                throw EngineDead(await died.ConfigureAwait(false));
            }

            var json = body is null ? [] : JsonSerializer.SerializeToUtf8Bytes(body, JsonNodeContext.Default.JsonObject);
            if (!Post(operation, id, json, default, isUrgent: true))
            {
                throw EngineDead("the interpreter has ended");
            }

            return await call.Answer.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _calls.TryRemove(id, out _);
        }
    }

    private bool Post(GuestOperation operation, ulong id, ReadOnlySpan<byte> json, ReadOnlySpan<byte> blob, bool isUrgent)
    {
        const int headerBytes = 13; // <BQI
        var header = ArrayPool<byte>.Shared.Rent(headerBytes + json.Length);
        header[0] = (byte)operation;
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(1), id);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(9), (uint)json.Length);
        json.CopyTo(header.AsSpan(headerBytes));
        var posted = _host.TryPost(header.AsSpan(0, headerBytes + json.Length), blob, isUrgent);
        ArrayPool<byte>.Shared.Return(header, clearArray: true);
        return posted;
    }

    private void FailAll(DynamoError error)
    {
        foreach (var (id, stream) in _streams)
        {
            if (_streams.TryRemove(id, out _))
            {
                stream.Fail(error);
            }
        }
    }

    /// <summary>The engine does not answer any more: fails what runs, and every later request.</summary>
    public void GiveUp(string reason) => Die(reason);

    private void Die(string reason)
    {
        if (_died.TrySetResult(reason))
        {
            FailAll(DynamoError.EngineShutdown(reason));
            FailCalls(call => call.NeedsEngine, EngineDead(reason));
        }
    }

    private void FailCalls(Predicate<PendingCall> which, EngineCallException failure)
    {
        foreach (var (id, call) in _calls)
        {
            if (which(call) && _calls.TryRemove(id, out _))
            {
                call.Answer.TrySetException(failure);
            }
        }
    }

    private static EngineCallException EngineDead(string reason, string? traceback = null) =>
        new("engine_dead", "EngineDeadError", reason, traceback);

    private async Task WatchGuestAsync()
    {
        var failure = await _host.Completion.ConfigureAwait(false);
        var reason = failure is null ? "the interpreter has ended" : "the interpreter failed";
        if (failure is not null && !_isStopping)
        {
            LogGuestFailed(_logger, failure);
        }

        Die(reason);
        FailCalls(_ => true, EngineDead(reason, failure));
    }

    /// <param name="NeedsEngine">No answer can come once the engine is gone; what the guest does by itself still gets one.</param>
    private sealed record PendingCall(bool NeedsEngine)
    {
        // The delivery loop goes on.
        public TaskCompletionSource<JsonElement> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
