using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.UnitTests.Core;
using Dynamo.Vllm.UnitTests.Engine;

namespace Dynamo.Vllm.UnitTests.Simulation;

/// <summary>An engine on virtual time behind the real border: streams, delivery loop and records are the worker's own.</summary>
/// <remarks>Each step gives every request one token, its next number. It can freeze, go on, and die.</remarks>
internal sealed class SimulatedEngine : IEngine, IEngineActivitySource, IDisposable
{
    private readonly GuestBorder _border = new();
    private readonly ScriptedControl _control = new();
    private readonly Dictionary<ulong, (int Next, int Count)> _requests = [];
    private readonly TaskCompletionSource<string> _died = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PlantedFault _fault;
    private readonly TimeProvider _time;
    private TaskCompletionSource _thawed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ulong _lastId;

    public SimulatedEngine(PlantedFault fault, TimeProvider time)
    {
        _fault = fault;
        _time = time;
        _thawed.SetResult();
        _control.OnCallAsync = call => call == "RoundTrip" ? _thawed.Task : Task.CompletedTask;
    }

    public event Action<EngineLoad>? LoadChanged
    {
        add => _border.Load.Add(value!);
        remove => _border.Load.Remove(value!);
    }

    public EngineDescription Description { get; } = new ScriptedEngine().Description;

    public int RunningRequests => _border.Streams.Count;

    public long Steps => _border.Steps.Value;

    public Task<string> Died => _died.Task;

    public IEngineControl Control => _control;

    public bool IsFrozen => !_thawed.Task.IsCompleted;

    /// <summary>Requests that the engine still works on, whether or not the worker knows.</summary>
    public int Held => _requests.Count;

    public IEngineStream Submit(EngineRequest request)
    {
        if (_died.Task.IsCompleted)
        {
            throw new RequestFailedException(DynamoError.EngineShutdown("the engine has ended"));
        }

        var stream = _border.Streams.Add(++_lastId);
        _requests[stream.Id] = (0, request.MaxTokens);
        return stream;
    }

    public void ReleaseRequests(DynamoError error) => _border.Streams.ReleaseAll(error);

    public void Freeze() => _thawed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Thaw() => _thawed.TrySetResult();

    public void Die(string reason)
    {
        if (_died.TrySetResult(reason))
        {
            _requests.Clear();
            _border.Streams.FailAll(DynamoError.EngineShutdown(reason));
        }
    }

    public EngineActivity? Read() => new(IsFrozen, !IsFrozen, TimeSpan.Zero, TimeSpan.Zero, null);

    /// <summary>Steps until it is cancelled.</summary>
    public async Task RunAsync(Random random, CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(random.Next(5, 60)), _time, CancellationToken.None);
            await _thawed.Task;
            await StepAsync();
        }
    }

    public void Dispose() => _border.Dispose();

    private async Task StepAsync()
    {
        foreach (var (operation, id) in _border.Told())
        {
            if (operation == GuestOperation.Abort && _fault != PlantedFault.EndLost && _requests.Remove(id))
            {
                await _border.DeliverAsync(GuestRecords.Tokens(id, [], FinishReason.Abort, isLast: true));
            }
        }

        var records = new List<byte[]>();
        foreach (var (id, (next, count)) in _requests.ToList())
        {
            var isLast = next + 1 >= count;
            if (isLast && _fault == PlantedFault.EndLost)
            {
                continue;
            }

            var token = _fault == PlantedFault.TokenLost && next > 5 ? next + 1 : next;
            records.Add(GuestRecords.Tokens(id, [token], isLast ? FinishReason.Length : FinishReason.None, isLast, prompt: 1, cached: 0));
            if (isLast)
            {
                _requests.Remove(id);
            }
            else
            {
                _requests[id] = (next + 1, count);
            }
        }

        await _border.DeliverAsync([.. records]);
    }
}
