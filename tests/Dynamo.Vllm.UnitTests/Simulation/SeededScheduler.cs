namespace Dynamo.Vllm.UnitTests.Simulation;

/// <summary>Runs what is ready on the caller's thread, one piece at a time, in an order that the seed decides.</summary>
internal sealed class SeededScheduler(Random random) : TaskScheduler
{
    private readonly List<Task> _ready = [];
    private readonly int _thread = Environment.CurrentManagedThreadId;

    /// <summary>Where something came from another thread: the run cannot be repeated.</summary>
    public string? Intrusion { get; private set; }

    /// <summary>Pieces of work so far: equal in two runs of a seed, or something is not under control.</summary>
    public long Executed { get; private set; }

    public void RunUntilIdle()
    {
        while (_ready.Count > 0)
        {
            var next = random.Next(_ready.Count);
            var task = _ready[next];
            _ready.RemoveAt(next);
            Executed++;
            TryExecuteTask(task);
        }
    }

    protected override void QueueTask(Task task)
    {
        if (Environment.CurrentManagedThreadId != _thread)
        {
            Intrusion ??= Environment.StackTrace;
        }

        lock (_ready)
        {
            _ready.Add(task);
        }
    }

    // Never: every continuation is a point at which something else may happen first.
    protected override bool TryExecuteTaskInline(Task task, bool taskWasPreviouslyQueued) => false;

    protected override IEnumerable<Task> GetScheduledTasks() => _ready;
}
