using Dynamo.Vllm.Core.Adapters;

namespace Dynamo.Vllm.UnitTests.Core.Adapters;

/// <summary>Cards that only a list knows of.</summary>
internal sealed class AdapterCardsFake(List<string> steps) : IAdapterCards
{
    public Exception? PublishFailure { get; set; }

    public Exception? WithdrawFailure { get; set; }

    public HashSet<string> Published { get; } = [];

    public Task PublishAsync(LoadedAdapter adapter, CancellationToken cancellationToken)
    {
        if (PublishFailure is { } failure)
        {
            return Task.FromException(failure);
        }

        steps.Add($"+card {adapter.Name}");
        Published.Add(adapter.Name);
        return Task.CompletedTask;
    }

    public Task WithdrawAsync(string name, CancellationToken cancellationToken)
    {
        if (WithdrawFailure is { } failure)
        {
            return Task.FromException(failure);
        }

        if (Published.Remove(name))
        {
            steps.Add($"-card {name}");
        }

        return Task.CompletedTask;
    }
}
