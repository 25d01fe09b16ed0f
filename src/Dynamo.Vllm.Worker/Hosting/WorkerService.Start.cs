using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Python;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Transports.SystemServer;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Transports.Zmq;
using Dynamo.Vllm.Worker.CommandLine;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.Models;

namespace Dynamo.Vllm.Worker.Hosting;

internal sealed partial class WorkerService
{
    private const string MetricsFolder = "PROMETHEUS_MULTIPROC_DIR";

    private async Task RunStagesUpAsync(CancellationToken cancellationToken)
    {
        await StageAsync("status server", () => StartServerAsync(cancellationToken)).ConfigureAwait(false);
        await StageAsync("engine arguments", () => ParseEngineArgumentsAsync(cancellationToken)).ConfigureAwait(false);
        await StageAsync("planes", () => StartPlanesAsync(cancellationToken)).ConfigureAwait(false);
        await StageAsync("engine", () => BuildEngineAsync(cancellationToken)).ConfigureAwait(false);
        await StageAsync("registration", () => RegisterAsync(cancellationToken)).ConfigureAwait(false);
        LogReady(_logger, _configuration!.ServedModelName, _health.Uptime.TotalSeconds);
    }

    private async Task StartServerAsync(CancellationToken cancellationToken)
    {
        var options = _runtime.SystemServer;
        if (!options.IsEnabled)
        {
            return;
        }

        _server = new SystemServer(
            new SystemServerOptions
            {
                Host = options.Host,
                Port = options.Port,
                Connections = _connections.Status,
                HealthPath = options.HealthPath,
                LivePath = options.LivePath,
                LiveIsReady = _arguments.Host.LiveIsReady,
            },
            _health, _routes, _files, RenderMetricsAsync, () => _discovery?.Metadata, _loggers);
        await _server.StartAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task ParseEngineArgumentsAsync(CancellationToken cancellationToken)
    {
        SetPythonEnvironment();
        var python = PythonLocator.Locate(_arguments.Host.Python, name => _environment.GetValueOrDefault(name));
        LogPython(_logger, python.Executable, python.Version.ReplaceLineEndings(" "), python.LibraryPath);
        ReportOrphans();
        _engine = new VllmEngine(
            python,
            new VllmEngineOptions
            {
                Drive = _arguments.Host.EngineDrive switch { EngineDrive.Stock => "stock", EngineDrive.Collector => "collector", _ => "raw" },
                ErrorDescriptor = _outputs.ErrorDescriptor,
                SimulatedPath = _arguments.Host.SimulatedEngine ? Path.Combine(AppContext.BaseDirectory, "simulated") : null,
            },
            _time, _loggers);
        _engine.StartInterpreter();
        var values = await _engine.ParseAsync(_arguments.EngineArguments, cancellationToken).ConfigureAwait(false);
        _configuration = new ConfigurationResolver(_environment, new NixlHostProbe(), File.Exists).Resolve(_arguments, new EngineArgumentValues(values));
        foreach (var warning in _configuration.Warnings.Concat(_runtime.Warnings))
        {
            LogWarning(_logger, warning);
        }

        if (_arguments.Runtime.FpmTrace && _configuration.ForwardPassMetrics)
        {
            LogNoTraceFiles(_logger);
        }

        if (_configuration.UnsupportedFeatures.Count > 0)
        {
            throw new WorkerExitException(ExitCodes.Failure, string.Join('\n', _configuration.UnsupportedFeatures));
        }

        if (!_configuration.Model.Contains("://", StringComparison.Ordinal)) // what the engine fetches is looked at when it is there
        {
            ModelDirectory.Require(_configuration.Model, _configuration.CustomJinjaTemplate);
        }

        if (_arguments.Runtime.DumpConfigTo is { Length: > 0 } path)
        {
            await DumpAsync(path, python, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task DumpAsync(string path, PythonInstallation python, CancellationToken cancellationToken)
    {
        var packages = await _engine!.CallAsync("installed_packages", null, cancellationToken).ConfigureAwait(false);
        var facts = new ConfigurationDumpFacts
        {
            CommandLine = Environment.GetCommandLineArgs(),
            System = SystemFacts.Collect(),
            Python = new JsonObject
            {
                ["python_version"] = python.Version,
                ["python_version_info"] = VersionNumbers(python),
                ["python_executable"] = python.Executable,
            },
            InstalledPackages = JsonObject.Create(packages.GetProperty("packages")),
            Gpu = GpuFacts.Collect(),
        };
        var dump = ConfigurationDump.Render(_configuration!, _environment, facts);
        if (ConfigurationDump.TryWrite(path, dump) is { } problem)
        {
            LogDumpFailed(_logger, path, problem, dump);
        }
    }

    /// <summary>The third number is in the text alone: "3.11.7 (main, ...".</summary>
    private static JsonObject VersionNumbers(PythonInstallation python)
    {
        var numbers = python.Version.Split(' ')[0].Split('.');
        var digits = numbers.Length > 2 ? string.Concat(numbers[2].TakeWhile(char.IsAsciiDigit)) : "";
        var micro = int.TryParse(digits, System.Globalization.CultureInfo.InvariantCulture, out var number) ? number : 0;
        return new JsonObject { ["major"] = python.Major, ["minor"] = python.Minor, ["micro"] = micro };
    }

    /// <summary>What Python and its children must find in the environment (cli.md, 7). Before the interpreter starts, when setenv is still safe.</summary>
    private void SetPythonEnvironment()
    {
        foreach (var (name, value) in RuntimeOptionsExport.Changes(_arguments.Runtime, _environment))
        {
            ProcessEnvironment.Set(name, value);
        }

        if (!_environment.ContainsKey("PYTHONHASHSEED"))
        {
            ProcessEnvironment.Set("PYTHONHASHSEED", "0"); // equal block hashes on every worker
        }

        if (_environment.GetValueOrDefault(MetricsFolder) is not { Length: > 0 } folder)
        {
            ProcessEnvironment.Set(MetricsFolder, null); // present and empty, it would mean the current folder to the metrics library
        }
        else if (TemporaryFolders.TryCreate(folder) is { } problem)
        {
            throw new ConfigurationException($"{MetricsFolder}={folder}: {problem}");
        }

        ProcessEnvironment.Set("VLLM_NO_USAGE_STATS", "1");
        ProcessEnvironment.Set("VLLM_WORKER_MULTIPROC_METHOD", "spawn"); // a fork of a process with managed threads crashes
    }

    private async Task StartPlanesAsync(CancellationToken cancellationToken)
    {
        _factory = new PlaneFactory(_planes, _runtime, _environment, _connections.Requests, _time, _loggers);
        var security = _factory.CreateSecurity();
        _discovery = _factory.CreateDiscovery();
        await _factory.ConnectAsync(cancellationToken).ConfigureAwait(false);
        var instance = await _discovery.JoinAsync(cancellationToken).ConfigureAwait(false);
        _metrics = new RuntimeMetrics(_runtimeRegistry, instance.Hex);
        var dispatcher = new RequestDispatcher(
            new TcpCallHomeDialer(security, _time, _loggers.CreateLogger<TcpCallHomeDialer>()), _factory.CreateAdmission(), _metrics.Dispatcher, _time, _loggers.CreateLogger<RequestDispatcher>());
        _requests = _factory.CreateRequestPlane(dispatcher, security);
        await _requests.StartAsync(cancellationToken).ConfigureAwait(false);
        _registration = new WorkerRegistration(
            _discovery, _requests, _runtime.DeviceType, _runtime.RequestPlaneCodec, _loggers.CreateLogger<WorkerRegistration>(), instance);
        LogJoined(_logger, _discovery.Name, instance.Hex);
    }

    private async Task BuildEngineAsync(CancellationToken cancellationToken)
    {
        var started = _time.GetTimestamp();
        var overrides = new JsonObject(_configuration!.EngineOverrides.Select(pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone())));
        var environment = new JsonObject(_configuration.EnvironmentChanges.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value)));
        environment["DYN_FPM_WORKER_ID"] = _registration.Instance.Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
        if (_environment.GetValueOrDefault(MetricsFolder) is not { Length: > 0 })
        {
            // Only now, when the metrics library is loaded: it then keeps this process's values in memory, with their _created series, as in the
            // reference, while the engine's processes write theirs to files.
            _prometheusFolder = TemporaryFolders.Create("vllm_prometheus_", _environment);
            environment[MetricsFolder] = _prometheusFolder;
        }

        await _engine!.BuildAsync(overrides, environment, cancellationToken).ConfigureAwait(false);
        var facts = _engine.Description;
        var worker = new WorkerMetrics(_workerRegistry, _configuration.ServedModelName, _configuration.Component);
        worker.SetLoadTime(_time.GetElapsedTime(started));
        for (var rank = 0; rank < facts.DataParallelSize; rank++)
        {
            worker.SetBlocks(facts.DataParallelStart + rank, facts.BlocksPerRank);
        }

        _engine.LoadChanged += load => worker.SetUsage(load.Rank, load.KvCacheUsage);
        _engineMetrics = new EngineMetricsText(_engine, EngineLabels());
        await _engineMetrics.ReadFirstAsync(cancellationToken).ConfigureAwait(false);
        LogEngine(_logger, _configuration.ServedModelName, facts.EngineVersion, facts.MaxModelLength, facts.NumGpuBlocks, facts.BlockSize);
    }

    private Dictionary<string, string> EngineLabels() => new()
    {
        ["dynamo_component"] = _configuration!.Component,
        ["dynamo_endpoint"] = _configuration.Endpoint,
        ["dynamo_namespace"] = _configuration.Namespace,
        ["model"] = _configuration.ServedModelName,
        ["model_name"] = _configuration.ServedModelName,
        ["worker_id"] = _registration.Instance.Hex,
    };

    private async Task RegisterAsync(CancellationToken cancellationToken)
    {
        var configuration = _configuration!;
        var card = await CreateCardAsync(configuration, cancellationToken).ConfigureAwait(false);
        var endpoint = new EndpointId(configuration.Namespace, configuration.Component, configuration.Endpoint);
        await StartRelayAsync(configuration, endpoint, cancellationToken).ConfigureAwait(false);
        var generate = AddEndpoint(endpoint.Name, CreateGenerateHandler(configuration));
        var clear = AddEndpoint("clear_kv_blocks", new ClearKvBlocksHandler(_engine!));
        var perf = AddEndpoint("get_perf_metrics", new PerfMetricsHandler());
        var stalls = CreateStallWatch(generate);
        new EngineControl(_engine!, _registration, generate, stalls, (taints, cancellation) => PutCardAsync(endpoint, Tainted(card, taints), cancellation)).AddTo(_routes);
        cancellationToken.ThrowIfCancellationRequested(); // the last point at which a stop leaves no trace in discovery
        await PutCardAsync(endpoint, card, cancellationToken).ConfigureAwait(false);
        var payload = HealthPayload.Create(_engine!.Description.BosTokenId, _runtime.Health.Payload, problem => LogWarning(_logger, problem));
        foreach (var query in _relay!.QueryEndpoints)
        {
            _health.AddEndpoint(query.Id.Name, hasPayload: false);
        }

        foreach (var served in _endpoints)
        {
            await _registration.ServeAsync(served, cancellationToken).ConfigureAwait(false);
            _health.AddEndpoint(served.Id.Name, hasPayload: served == generate);
        }

        _health.Hold(false);
        StartWatching(generate, payload, stalls);
    }

    /// <summary>Cache events, load and first tokens for routers: before the first request, whose events would be lost.</summary>
    private async Task StartRelayAsync(ResolvedConfiguration configuration, EndpointId endpoint, CancellationToken cancellationToken)
    {
        _events = await _factory!.CreateEventPlaneAsync(_registration, configuration.Namespace, cancellationToken).ConfigureAwait(false);
        _relay = new KvRelayService(
            new KvRelayOptions
            {
                RelaysKvEvents = configuration.UseKvEvents,
                PublishesFirstTokens = configuration.Mode != DisaggregationMode.Prefill,
                ForwardPassPort = configuration.ForwardPassMetrics ? configuration.ForwardPassMetricsPort : null,
            },
            _engine!, endpoint, _registration, _events, new ZmqEventFeed(_time), _metrics, _time, _loggers.CreateLogger<KvRelayService>());
        await _relay.StartAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task<ModelCard> CreateCardAsync(ResolvedConfiguration configuration, CancellationToken cancellationToken)
    {
        var isHosted = _runtime.SelfHostMetadata && _server?.Address is not null;
        var folder = _engine!.Description.ModelWeights.Length > 0 ? _engine.Description.ModelWeights : configuration.Model;
        var files = ModelDirectory.Read(folder, configuration.CustomJinjaTemplate, withSiblings: isHosted);
        if (isHosted)
        {
            files = HostFiles(files, configuration);
        }
        else
        {
            LogFilesNotHosted(_logger);
        }

        var topology = await TopologyFacts.ReadAsync(_runtime.Topology, _time, cancellationToken).ConfigureAwait(false);
        return ModelCardFactory.Create(configuration, _engine.Description, files, topology, []);
    }

    /// <summary>Frontends on other hosts fetch the files from the status server (llm-registration.md, 4).</summary>
    private ModelFiles HostFiles(ModelFiles files, ResolvedConfiguration configuration)
    {
        var bound = _server!.Address!;
        var isWildcard = bound.Address.Equals(System.Net.IPAddress.Any) || bound.Address.Equals(System.Net.IPAddress.IPv6Any);
        var advertised = new System.Net.IPEndPoint(isWildcard ? NetworkAddresses.Automatic(bound.AddressFamily) : bound.Address, bound.Port);
        var prefix = $"{configuration.Namespace}/{configuration.Component}/{configuration.Endpoint}/{Slug.Of(configuration.ServedModelName)}/_base/";
        return files.WithPaths((file, _) =>
        {
            _files.Add(prefix + file.Name, file.Path);
            return $"http://{advertised}/v1/metadata/{prefix}{file.Name}";
        });
    }

    private static ModelCard Tainted(ModelCard card, IReadOnlyList<string> taints) => card with
    {
        RuntimeConfig = card.RuntimeConfig with
        {
            Taints = [.. taints, .. card.RuntimeConfig.Taints.Where(taint => taint.StartsWith("dynamo.topology/", StringComparison.Ordinal))],
            HasTaintUpdate = true,
        },
    };

    private Task PutCardAsync(EndpointId endpoint, ModelCard card, CancellationToken cancellationToken)
    {
        var json = card.ToJson();
        LogCard(_logger, endpoint.ToString(), ModelCardChecksum.Compute(json));
        return _registration.PutAsync("model", instance => DiscoveryRecord.Model(endpoint, instance, json.DeepClone().AsObject()), cancellationToken);
    }

    private ServedEndpoint AddEndpoint(string name, IEndpointHandler handler)
    {
        var id = new EndpointId(_configuration!.Namespace, _configuration.Component, name);
        var endpoint = new ServedEndpoint(id, handler, _metrics.ForEndpoint(id, _configuration.ServedModelName));
        _endpoints = _endpoints.Add(endpoint);
        return endpoint;
    }

    private GenerateHandler CreateGenerateHandler(ResolvedConfiguration configuration)
    {
        var options = new GenerateOptions
        {
            BaseModelNames = new HashSet<string>([configuration.ServedModelName, .. configuration.ServedModelAliases, configuration.Model], StringComparer.Ordinal),
            EnablePromptEmbeds = configuration.Engine.Json["enable_prompt_embeds"] is JsonValue value && value.TryGetValue<bool>(out var isOn) && isOn,
            LoraEnabled = configuration.Engine.EnableLora && _runtime.Lora.Enabled,
            EnableReinforcementLearning = _arguments.Vllm.EnableRl,
        };
        return configuration.Mode switch
        {
            DisaggregationMode.Prefill => CreatePrefillHandler(options),
            DisaggregationMode.Decode => new DecodeHandler(_engine!, options, adapters: null, _relay?.FirstTokens),
            _ => new AggregatedHandler(_engine!, options, adapters: null, _relay?.FirstTokens),
        };
    }

    private PrefillHandler CreatePrefillHandler(GenerateOptions options)
    {
        _handOvers = new HandOverLedger(_engine!.Description.KvLease, _time, _workerRegistry, _engine.Description.DataParallelSize);
        _engine.LoadChanged += _handOvers.Observe;
        return new PrefillHandler(_engine, options, adapters: null, KvConnectorProtocols.Resolve(_engine.Description), _handOvers);
    }

    private EngineMonitor CreateMonitor() => new(
        _engine!,
        new EngineMonitorOptions
        {
            Interval = _runtime.Health.EngineCheckInterval,
            CheckTimeout = _runtime.Health.EngineCheckTimeout,
        },
        _health, _time, _loggers.CreateLogger<EngineMonitor>());

    private StallWatch CreateStallWatch(ServedEndpoint generate)
    {
        var gpu = _runtime.DeviceType == "cuda" ? GpuActivity.TryOpen(_environment.GetValueOrDefault("CUDA_VISIBLE_DEVICES")) : null;
        return new StallWatch(
            _engine!, new EngineProcessActivity(_configuration!.Engine.IsOnThisHost, gpu), _arguments.Host.Stalls, _health, _registration, generate,
            _time, _loggers.CreateLogger<StallWatch>());
    }

    private void StartWatching(ServedEndpoint generate, JsonObject payload, StallWatch stalls)
    {
        var monitor = CreateMonitor();
        _ = EndWhenAsync(monitor.RunAsync(_watching.Token));
        _ = EndWhenAsync(stalls.RunAsync(_stopped.Token));
        if (_runtime.Health.CanariesEnabled)
        {
            var canary = new Canary(
                generate, JsonSerializer.SerializeToUtf8Bytes(payload, JsonNodeContext.Default.JsonObject), _runtime.Health.CanaryIdle, _runtime.Health.CanaryTimeout,
                _health, _time, _loggers.CreateLogger<Canary>());
            _ = canary.RunAsync(_watching.Token);
        }

        _ = LogStatisticsAsync(_watching.Token);
    }

    private async Task EndWhenAsync(Task<string?> engineIsLost)
    {
        if (await engineIsLost.ConfigureAwait(false) is { } reason)
        {
            _fatal.TrySetResult(reason);
            _lifetime.StopApplication();
        }
    }

    /// <summary>vLLM's own statistics line, every <c>VLLM_LOG_STATS_INTERVAL</c> seconds (behaviour.md, 8).</summary>
    private async Task LogStatisticsAsync(CancellationToken cancellationToken)
    {
        var interval = double.TryParse(_environment.GetValueOrDefault("VLLM_LOG_STATS_INTERVAL"), System.Globalization.CultureInfo.InvariantCulture, out var seconds) ? seconds : 10;
        if (interval <= 0)
        {
            return;
        }

        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(interval), _time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                await _engine!.CallAsync("log_stats", null, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or EngineCallException)
        {
            // Normal stop, or an engine that its monitor reports.
        }
    }

    private async Task<string> RenderMetricsAsync(CancellationToken cancellationToken)
    {
        _metrics?.Uptime.Set(_health.Uptime.TotalSeconds);
        using var buffer = new MemoryStream();
        await _runtimeRegistry.CollectAndExportAsTextAsync(buffer, cancellationToken).ConfigureAwait(false);
        await _workerRegistry.CollectAndExportAsTextAsync(buffer, cancellationToken).ConfigureAwait(false);
        var text = MetricLabels.WithoutEmptyModel(System.Text.Encoding.UTF8.GetString(buffer.ToArray()));
        return _engineMetrics is null ? text : text + await _engineMetrics.GetAsync(cancellationToken).ConfigureAwait(false);
    }
}
