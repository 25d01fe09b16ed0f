using Dynamo.Vllm.Core.Lifecycle;

namespace Dynamo.Vllm.UnitTests.Core.Lifecycle;

/// <summary>A stage that writes down what is done to it, and does what the test says.</summary>
internal sealed class StageFake : IStage
{
    private readonly List<string> _journal;

    public StageFake(string name, List<string> journal)
    {
        Name = name;
        _journal = journal;
    }

    public string Name { get; }

    public TimeSpan DownLimit { get; init; } = TimeSpan.FromSeconds(3);

    public Func<CancellationToken, Task> Up { get; init; } = _ => Task.CompletedTask;

    public Func<Task> Down { get; init; } = () => Task.CompletedTask;

    public Task UpAsync(CancellationToken cancellationToken)
    {
        _journal.Add($"{Name} up");
        return Up(cancellationToken);
    }

    public Task DownAsync(StopCause cause)
    {
        _journal.Add($"{Name} down: {cause.Reason}");
        return Down();
    }
}
