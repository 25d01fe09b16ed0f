namespace Dynamo.Vllm.Core.Adapters;

/// <summary>Makes adapters known to frontends, one model card each.</summary>
public interface IAdapterCards
{
    /// <exception cref="AdapterCardException">The name cannot be registered.</exception>
    /// <exception cref="Discovery.WorkerLeavingException">The worker leaves.</exception>
    Task PublishAsync(LoadedAdapter adapter, CancellationToken cancellationToken);

    /// <summary>Takes the card back; an adapter that has none is no error.</summary>
    Task WithdrawAsync(string name, CancellationToken cancellationToken);
}
