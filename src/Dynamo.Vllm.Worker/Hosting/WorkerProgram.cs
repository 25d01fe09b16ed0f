using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.Help;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.StatusPage;
using Dynamo.Vllm.Worker.StatusPort;
using Dynamo.Vllm.Worker.Telemetry;
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
                ExitCodes.Failure
            );
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
        var engine = await EngineHelp.ReadAsync(arguments, environment).ConfigureAwait(false);
        return Print(HelpText.Render(environment, () => engine).TrimEnd('\n'));
    }

    private static async Task<int> ServeAsync(WorkerArguments arguments, IReadOnlyDictionary<string, string> environment)
    {
        var settings = WorkerSettings.From(arguments, environment);
        using var outputs = StandardOutputs.Redirect();
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.Logging.SetMinimumLevel(LogLevel.Trace); // the provider filters, by target
        builder.Logging.AddProvider(CreateLogs(settings.Runtime.Logging, outputs));
        var problems = new RecentProblems(TimeProvider.System);
        builder.Logging.AddProvider(problems);
        builder.Services.AddSingleton(problems);
        AddLogRecords(builder, settings);
        builder.Services.AddSingleton(outputs);
        builder.UseStatusServer().Services.AddDynamoWorker(settings);
        // Each stage has its own bound.
        builder.Services.Configure<Microsoft.Extensions.Hosting.HostOptions>(options => options.ShutdownTimeout = Timeout.InfiniteTimeSpan);
        builder.Services.Configure<ConsoleLifetimeOptions>(options => options.SuppressStatusMessages = true);
        var application = builder.Build().MapStatusEndpoints(StatusEndpointOptions.From(settings));
        await using (application.ConfigureAwait(false))
        {
            return await RunAsync(application, outputs).ConfigureAwait(false);
        }
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

    private static void AddLogRecords(WebApplicationBuilder builder, WorkerSettings settings)
    {
        if (OtlpSettings.LogsQueued(new EnvironmentReader(settings.Environment, settings.Options)) is { } queued)
        {
            var records = new LogRecords(new DynamoLogFilter(settings.Runtime.Logging.Filter), queued, TimeProvider.System);
            builder.Logging.AddProvider(records);
            builder.Services.AddSingleton(records);
        }
    }

    private static async Task<int> RunAsync(IHost host, StandardOutputs outputs)
    {
        // A terminal that closes: the reference ends at once and loses what runs.
        using var hangup = Signals.OnHangup(host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication);
        using var reload = Signals.OnReload(host.Services.GetRequiredService<Reload>().Ask);
        try
        {
            await host.StartAsync().ConfigureAwait(false);
            await host.WaitForShutdownAsync().ConfigureAwait(false);
            return host.Services.GetRequiredService<WorkerService>().ExitCode;
        }
        catch (Exception exception)
        {
            // Boundary mapping (style E3): also what the host's own server throws ends in one line and a code.
            var exit = StartFailure.Of(exception);
            if (exit.ExitCode != ExitCodes.Success)
            {
                outputs.WriteError(exit.IsPlainText ? exit.Message + "\n" : $"{ProgramIdentity.Name}: error: {exit.Message}\n");
            }

            return exit.ExitCode;
        }
    }
}
