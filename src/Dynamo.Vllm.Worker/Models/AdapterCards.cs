using System.Collections.Concurrent;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>The cards of the adapters, kept in discovery as long as the generate endpoint can be seen there. Thread-safe.</summary>
/// <remarks>Keys hold the slug of the name, so two names with one slug exclude each other. Refusals are in the reference's words.</remarks>
internal sealed class AdapterCards : IAdapterCards
{
    private readonly ConcurrentDictionary<string, string> _names = new(StringComparer.Ordinal);
    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _generate;
    private readonly MetadataHost? _host;
    private readonly ModelFiles _files;
    private readonly string _servedModelName;
    private readonly IReadOnlySet<string> _baseModelNames;
    private readonly Func<ModelFiles, LoadedAdapter, ModelCard> _create;

    /// <param name="registration">Keeps them.</param>
    /// <param name="generate">Serves the adapters.</param>
    /// <param name="host">Serves their files; null: they are read where they lie.</param>
    /// <param name="files">Of the base model, with local paths.</param>
    /// <param name="servedModelName">The base model's first name.</param>
    /// <param name="baseModelNames">All of its names: a request for one never reaches an adapter.</param>
    /// <param name="create">Makes the card.</param>
    public AdapterCards(
        WorkerRegistration registration,
        ServedEndpoint generate,
        MetadataHost? host,
        ModelFiles files,
        string servedModelName,
        IReadOnlySet<string> baseModelNames,
        Func<ModelFiles, LoadedAdapter, ModelCard> create
    )
    {
        _registration = registration;
        _generate = generate;
        _host = host;
        _files = files;
        _servedModelName = servedModelName;
        _baseModelNames = baseModelNames;
        _create = create;
    }

    public Task PublishAsync(LoadedAdapter adapter, CancellationToken cancellationToken)
    {
        var (name, endpoint) = (adapter.Name, _generate.Id);
        if (_baseModelNames.Contains(name))
        {
            throw new AdapterCardException(
                $"Cannot register model '{name}' on endpoint '{endpoint.Namespace}/{endpoint.Component}/{endpoint.Name}': "
                    + $"a different model '{_servedModelName}' is already registered there"
            );
        }

        var slug = Slug.Of(name);
        if (slug.Length == 0)
        {
            throw new AdapterCardException("model update cannot change discovery identity");
        }

        if (_names.GetOrAdd(slug, name) != name)
        {
            throw new AdapterCardException("model update can only change runtime_config.taints");
        }

        var json = _create(_host?.Host(_files, slug, slug) ?? _files, adapter).ToJson();
        return _registration.PutWithAsync(
            _generate,
            RecordOf(slug),
            instance => DiscoveryRecord.Model(endpoint, instance, json.DeepClone().AsObject(), slug),
            cancellationToken
        );
    }

    public async Task WithdrawAsync(string name, CancellationToken cancellationToken)
    {
        var slug = Slug.Of(name);
        if (_names.TryGetValue(slug, out var owner) && owner == name)
        {
            await _registration.RemoveAsync(RecordOf(slug), cancellationToken).ConfigureAwait(false);
            _host?.Remove(slug, slug);
            _names.TryRemove(slug, out _);
        }
    }

    private static string RecordOf(string slug) => $"model/{slug}";
}
