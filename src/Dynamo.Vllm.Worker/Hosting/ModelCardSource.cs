using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Models;
using Dynamo.Vllm.Worker.Stages;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The card of the model that the engine has loaded, whose files the status server hosts for frontends on other hosts.</summary>
internal sealed partial class ModelCardSource
{
    private readonly WorkerSettings _settings;
    private readonly ModelStage _model;
    private readonly StatusServer _server;
    private readonly HostedFiles _hosted;
    private readonly TimeProvider _time;
    private readonly ILogger<ModelCardSource> _logger;
    private ModelFiles? _files; // with the model's own chat template; the stages come up one after the other

    public ModelCardSource(
        WorkerSettings settings,
        ModelStage model,
        StatusServer server,
        HostedFiles hosted,
        TimeProvider time,
        ILogger<ModelCardSource> logger
    )
    {
        _settings = settings;
        _model = model;
        _server = server;
        _hosted = hosted;
        _time = time;
        _logger = logger;
    }

    public async Task<ModelCard> CreateAsync(
        WorkerConfiguration configuration,
        EngineDescription engine,
        CancellationToken cancellationToken
    )
    {
        var host = CreateHost(configuration);
        var files = Read(configuration.CustomJinjaTemplate, withSiblings: host is not null);
        if (host is not null)
        {
            files = host.Host(files, Slug.Of(configuration.ServedModelName), "_base");
        }
        else
        {
            LogFilesNotHosted(_logger);
        }

        if (configuration.IsEncodeWorker)
        {
            return ModelCardFactory.CreateForEncoder(configuration, files);
        }

        var topology = await TopologyFacts.ReadAsync(_settings.Runtime.Topology, _time, cancellationToken).ConfigureAwait(false);
        return ModelCardFactory.Create(configuration, engine, files, topology, []);
    }

    /// <summary>The cards of LoRA adapters: of the same files, but that the
    /// operator's chat template is not theirs, as in the reference.</summary>
    public AdapterCards CreateAdapterCards(
        WorkerConfiguration configuration,
        EngineDescription engine,
        WorkerRegistration registration,
        ServedEndpoint generate
    )
    {
        var host = CreateHost(configuration);
        var files = Read(customTemplate: null, withSiblings: host is not null);
        return new AdapterCards(
            registration,
            generate,
            host,
            files,
            configuration.ServedModelName,
            configuration.BaseModelNames,
            (hosted, adapter) => ModelCardFactory.CreateForAdapter(configuration, engine, hosted, adapter)
        );
    }

    /// <summary>The card with other taints; those of the topology stay.</summary>
    public static ModelCard Tainted(ModelCard card, IReadOnlyList<string> taints) =>
        card with
        {
            RuntimeConfig = card.RuntimeConfig with
            {
                Taints =
                [
                    .. taints,
                    .. card.RuntimeConfig.Taints.Where(taint => taint.StartsWith("dynamo.topology/", StringComparison.Ordinal)),
                ],
                HasTaintUpdate = true,
            },
        };

    /// <summary>Each file is hashed, so the model's own ones once for all cards.</summary>
    private ModelFiles Read(string? customTemplate, bool withSiblings) =>
        customTemplate is null
            ? _files ??= ModelDirectory.Read(_model.Folder, customTemplate, withSiblings)
            : ModelDirectory.Read(_model.Folder, customTemplate, withSiblings);

    private MetadataHost? CreateHost(WorkerConfiguration configuration) =>
        _settings.Runtime.SelfHostMetadata && _server.Address is { } bound
            ? new MetadataHost(_hosted, bound, configuration.EndpointId(configuration.Endpoint))
            : null;

    [LoggerMessage(
        EventId = 5008,
        Level = LogLevel.Warning,
        Message = "No status server is up (DYN_SYSTEM_PORT), or metadata hosting is off: "
            + "the card names local files, so frontends need the same paths"
    )]
    private static partial void LogFilesNotHosted(ILogger logger);
}
