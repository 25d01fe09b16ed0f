using System.Net;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Transports.SystemServer;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.CommandLine;
using Dynamo.Vllm.Worker.Models;
using Dynamo.Vllm.Worker.Stages;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The card of the model that the engine has loaded, whose files the status server hosts for frontends on other hosts.</summary>
internal sealed partial class ModelCardSource
{
    private readonly WorkerSettings _settings;
    private readonly StatusServerStage _server;
    private readonly HostedFiles _hosted;
    private readonly TimeProvider _time;
    private readonly ILogger<ModelCardSource> _logger;

    public ModelCardSource(WorkerSettings settings, StatusServerStage server, HostedFiles hosted, TimeProvider time, ILogger<ModelCardSource> logger)
    {
        _settings = settings;
        _server = server;
        _hosted = hosted;
        _time = time;
        _logger = logger;
    }

    public async Task<ModelCard> CreateAsync(ResolvedConfiguration configuration, EngineDescription engine, CancellationToken cancellationToken)
    {
        var folder = engine.ModelWeights.Length > 0 ? engine.ModelWeights : configuration.Model;
        var address = _settings.Runtime.SelfHostMetadata ? _server.Address : null;
        var files = ModelDirectory.Read(folder, configuration.CustomJinjaTemplate, withSiblings: address is not null);
        if (address is not null)
        {
            files = Host(files, configuration, address);
        }
        else
        {
            LogFilesNotHosted(_logger);
        }

        var topology = await TopologyFacts.ReadAsync(_settings.Runtime.Topology, _time, cancellationToken).ConfigureAwait(false);
        return ModelCardFactory.Create(configuration, engine, files, topology, []);
    }

    /// <summary>The card with other taints; those of the topology stay.</summary>
    public static ModelCard Tainted(ModelCard card, IReadOnlyList<string> taints) => card with
    {
        RuntimeConfig = card.RuntimeConfig with
        {
            Taints = [.. taints, .. card.RuntimeConfig.Taints.Where(taint => taint.StartsWith("dynamo.topology/", StringComparison.Ordinal))],
            HasTaintUpdate = true,
        },
    };

    /// <summary>llm-registration.md, 4.</summary>
    private ModelFiles Host(ModelFiles files, ResolvedConfiguration configuration, IPEndPoint bound)
    {
        var isWildcard = bound.Address.Equals(IPAddress.Any) || bound.Address.Equals(IPAddress.IPv6Any);
        var advertised = new IPEndPoint(isWildcard ? NetworkAddresses.Automatic(bound.AddressFamily) : bound.Address, bound.Port);
        var prefix = $"{configuration.Namespace}/{configuration.Component}/{configuration.Endpoint}/{Slug.Of(configuration.ServedModelName)}/_base/";
        return files.WithPaths((file, _) =>
        {
            _hosted.Add(prefix + file.Name, file.Path);
            return $"http://{advertised}/v1/metadata/{prefix}{file.Name}";
        });
    }

    [LoggerMessage(EventId = 5008, Level = LogLevel.Warning, Message = "No status server is up (DYN_SYSTEM_PORT), or metadata hosting is off: "
        + "the card names local files, so frontends need the same paths")]
    private static partial void LogFilesNotHosted(ILogger logger);
}
