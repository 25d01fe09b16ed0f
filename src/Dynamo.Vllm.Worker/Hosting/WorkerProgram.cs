using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Python;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Worker.CommandLine;
using Dynamo.Vllm.Worker.Logging;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Console;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>From arguments to exit code.</summary>
internal static class WorkerProgram
{
    public static async Task<int> RunAsync(string[] arguments, IReadOnlyDictionary<string, string> environment)
    {
        // Before libraries are loaded: one that finds no descriptor is told as missing.
        var descriptors = DescriptorLimit.Raise();
        if (descriptors < DescriptorLimit.Min)
        {
            return Complain(
                $"{ProgramIdentity.Name}: error: the limit of open files is {descriptors}, and at least {DescriptorLimit.Min} are needed: "
                + "raise it (ulimit -n, LimitNOFILE= of systemd, ulimits of the container)\n",
                ExitCodes.Failure);
        }

        try
        {
            var parsed = CommandLineParser.Parse(arguments, environment);
            return parsed.Request switch
            {
                CommandLineRequest.ShowVersion => Print(ProgramIdentity.VersionLine),
                CommandLineRequest.ShowHelp => await PrintHelpAsync(arguments, environment).ConfigureAwait(false),
                _ => await ServeAsync(parsed.Arguments!, environment).ConfigureAwait(false),
            };
        }
        catch (UsageException exception)
        {
            return Complain(exception.StandardError, ExitCodes.Usage);
        }
        catch (ConfigurationException exception)
        {
            return Complain($"{ProgramIdentity.Name}: error: {exception.Message}\n", ExitCodes.Failure);
        }
    }

    private static int Print(string text)
    {
        Console.Out.WriteLine(text);
        return ExitCodes.Success;
    }

    /// <summary>Nobody may be reading, and whoever started this waits for its end.</summary>
    private static int Complain(string text, int exitCode)
    {
        using var outputs = StandardOutputs.Redirect();
        outputs.WriteError(text);
        return exitCode;
    }

    private static async Task<int> PrintHelpAsync(string[] arguments, IReadOnlyDictionary<string, string> environment)
    {
        // Only these two of our options change what the engine part shows.
        var chosen = ValueOf(arguments, "--python") ?? environment.GetValueOrDefault("DYN_VLLM_PYTHON");
        var isSimulated = arguments.Contains("--simulated-engine");
        string? section = null;
        try
        {
            var python = PythonLocator.Locate(chosen, name => environment.GetValueOrDefault(name));
            using var loggers = LoggerFactory.Create(_ => { });
            var engine = new VllmEngine(
                python, new VllmEngineOptions { SimulatedPath = isSimulated ? Path.Combine(AppContext.BaseDirectory, "simulated") : null }, TimeProvider.System, loggers);
            engine.StartInterpreter();
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2));
            section = await engine.HelpAsync(limit.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is PythonNotUsableException or Core.Engines.EngineCallException or OperationCanceledException)
        {
            // The other groups still print, with a line that says what is missing.
        }

        return Print(HelpText.Render(environment, () => section).TrimEnd('\n'));
    }

    private static string? ValueOf(string[] arguments, string flag)
    {
        var index = Array.FindIndex(arguments, argument => argument == flag || argument.StartsWith(flag + "=", StringComparison.Ordinal));
        if (index < 0)
        {
            return null;
        }

        return arguments[index].Contains('=', StringComparison.Ordinal) ? arguments[index][(flag.Length + 1)..] : arguments.ElementAtOrDefault(index + 1);
    }

    private static async Task<int> ServeAsync(WorkerArguments arguments, IReadOnlyDictionary<string, string> environment)
    {
        var applied = RuntimeOptionsExport.Apply(environment, RuntimeOptionsExport.Changes(arguments.Runtime, environment));
        var runtime = RuntimeEnvironment.Parse(applied);
        var planes = RuntimePlanes.From(arguments.Runtime);
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.ClearProviders();
        builder.Logging.SetMinimumLevel(LogLevel.Trace); // the provider filters, by target
        using var outputs = StandardOutputs.Redirect();
        builder.Logging.AddProvider(CreateLogs(runtime.Logging, outputs));
        builder.Services.AddSystemd();
        builder.Services.Configure<Microsoft.Extensions.Hosting.HostOptions>(options => options.ShutdownTimeout = Timeout.InfiniteTimeSpan); // each of our stages has its own bound
        builder.Services.Configure<ConsoleLifetimeOptions>(options => options.SuppressStatusMessages = true);
        builder.Services.AddSingleton(services => new WorkerService(
            arguments, applied, runtime, planes, outputs, services.GetRequiredService<IHostApplicationLifetime>(), services.GetRequiredService<ILoggerFactory>()));
        builder.Services.AddHostedService(services => services.GetRequiredService<WorkerService>());
        using var host = builder.Build();
        return await RunAsync(host, outputs).ConfigureAwait(false);
    }

    private static DynamoLoggerProvider CreateLogs(LoggingEnvironment options, StandardOutputs outputs)
    {
        ConsoleFormatter formatter = options.JsonLines
            ? new JsonLinesFormatter(TimeProvider.System)
            : new ReadableFormatter(hasColours: !options.DisableAnsi && !Console.IsErrorRedirected, TimeProvider.System);
        var logs = new DynamoLoggerProvider(new DynamoLogFilter(options.Filter), formatter, outputs.Error.TryWrite);
        outputs.SetNotice(logs.DroppedNotice);
        return logs;
    }

    private static async Task<int> RunAsync(IHost host, StandardOutputs outputs)
    {
        // A terminal that closes: the reference ends at once and loses what runs.
        using var hangup = Signals.OnHangup(host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication);
        try
        {
            await host.StartAsync().ConfigureAwait(false);
            await host.WaitForShutdownAsync().ConfigureAwait(false);
            return host.Services.GetRequiredService<WorkerService>().ExitCode;
        }
        catch (WorkerExitException exit)
        {
            if (exit.ExitCode != ExitCodes.Success)
            {
                outputs.WriteError(exit.IsPlainText ? exit.Message + "\n" : $"{ProgramIdentity.Name}: error: {exit.Message}\n");
            }

            return exit.ExitCode;
        }
    }
}
