using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Transports.Client;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>With <c>--route-to-encoder</c>: an encode worker is there, before anybody can send a request with images.</summary>
internal sealed partial class EncodersStage : IStage
{
    /// <summary>Where encode workers of a namespace serve, whatever their options say of it in the reference.</summary>
    private const string Component = "encode";

    private static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(1);

    private readonly WorkerSettings _settings;
    private readonly EngineArgumentsStage _arguments;
    private readonly PlanesStage _planes;
    private readonly TimeProvider _time;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<EncodersStage> _logger;

    public EncodersStage(
        WorkerSettings settings,
        EngineArgumentsStage arguments,
        PlanesStage planes,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _settings = settings;
        _arguments = arguments;
        _planes = planes;
        _time = time;
        _loggers = loggers;
        _logger = loggers.CreateLogger<EncodersStage>();
    }

    public string Name => "encode workers";

    /// <summary>Connections are closed, and nobody is waited for.</summary>
    public TimeSpan DownLimit => TimeSpan.Zero;

    /// <summary>Null where the engine makes its own embeddings.</summary>
    public EncodeWorkers? Workers { get; private set; }

    public async Task UpAsync(CancellationToken cancellationToken)
    {
        var configuration = _arguments.Configuration;
        if (!configuration.RoutesToEncoder)
        {
            return;
        }

        RefusePlane();
        var endpoint = new EndpointId(configuration.Namespace, Component, "generate");
        Workers = new EncodeWorkers(
            token =>
                _planes.Registration.ListAsync(DiscoveryRecord.Instances, $"{endpoint.Namespace}/{endpoint.Component}/generate/", token),
            _settings.Environment.GetValueOrDefault("DYN_SPLIT_ENCODE") is not "0",
            _time,
            _loggers.CreateLogger<EncodeWorkers>()
        );
        LogWaiting(_logger, endpoint.ToString());
        int count;
        while ((count = await Workers.CountAsync(cancellationToken).ConfigureAwait(false)) == 0)
        {
            await Task.Delay(LookInterval, _time, cancellationToken).ConfigureAwait(false);
        }

        LogFound(_logger, count);
    }

    public async Task DownAsync(StopCause cause)
    {
        if (Workers is not null)
        {
            await Workers.DisposeAsync().ConfigureAwait(false);
        }
    }

    private void RefusePlane()
    {
        if (_settings.Planes.Request != RequestPlane.Tcp)
        {
            throw new ConfigurationException("--route-to-encoder: encode workers are asked over the TCP request plane alone");
        }

        if (_settings.Runtime.Tcp.Tls is { ListensWithTls: true } or { DialsWithTls: true })
        {
            throw new ConfigurationException("--route-to-encoder: encode workers are not asked over TLS yet");
        }
    }

    [LoggerMessage(EventId = 5190, Level = LogLevel.Information, Message = "Waiting for an encode worker at {Endpoint}")]
    private static partial void LogWaiting(ILogger logger, string endpoint);

    [LoggerMessage(EventId = 5191, Level = LogLevel.Information, Message = "{Count} encode workers are there")]
    private static partial void LogFound(ILogger logger, int count);
}
