namespace Dynamo.Vllm.Core.Adapters;

/// <summary>Where adapters come from.</summary>
public interface IAdapterSource
{
    /// <summary>Makes the adapter available on this host.</summary>
    /// <param name="uri">As the caller gave it.</param>
    /// <param name="cancellationToken">Gives up; what was half fetched is never taken for an adapter later.</param>
    /// <returns>A local folder that stays.</returns>
    /// <exception cref="AdapterSourceException">It is not there, or cannot be fetched.</exception>
    Task<string> FetchAsync(string uri, CancellationToken cancellationToken);
}
