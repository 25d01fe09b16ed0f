using Dynamo.Vllm.Core.Requests;

namespace Dynamo.Vllm.Worker.Hosting;

internal sealed partial class WorkerService
{
    [LoggerMessage(EventId = 5001, Level = LogLevel.Debug, Message = "Stage '{Stage}' took {Seconds:F3} s")]
    private static partial void LogStage(ILogger logger, string stage, double seconds);

    [LoggerMessage(EventId = 5002, Level = LogLevel.Error, Message = "Stage '{Stage}' failed; going on")]
    private static partial void LogStageFailed(ILogger logger, string stage, Exception exception);

    [LoggerMessage(EventId = 5003, Level = LogLevel.Information, Message = "Joined {Discovery} discovery as instance {Instance}")]
    private static partial void LogJoined(ILogger logger, string discovery, string instance);

    [LoggerMessage(EventId = 5004, Level = LogLevel.Information, Message = "Embedding {Executable} ({Version}), library {Library}")]
    private static partial void LogPython(ILogger logger, string executable, string version, string library);

    [LoggerMessage(EventId = 5005, Level = LogLevel.Warning, Message = "{Warning}")]
    private static partial void LogWarning(ILogger logger, string warning);

    [LoggerMessage(EventId = 5006, Level = LogLevel.Information, Message = "Engine for {Model} is up: vLLM {EngineVersion}, context {MaxModelLength}, {Blocks} KV blocks of {BlockSize} tokens")]
    private static partial void LogEngine(ILogger logger, string model, string engineVersion, int maxModelLength, long blocks, int blockSize);

    [LoggerMessage(EventId = 5007, Level = LogLevel.Information, Message = "Model card of {Endpoint} has checksum {Checksum}; workers share traffic only if theirs are equal")]
    private static partial void LogCard(ILogger logger, string endpoint, string checksum);

    [LoggerMessage(EventId = 5008, Level = LogLevel.Warning, Message = "No status server is up (DYN_SYSTEM_PORT), or metadata hosting is off: the card names local files, so frontends need the same paths")]
    private static partial void LogFilesNotHosted(ILogger logger);

    [LoggerMessage(EventId = 5009, Level = LogLevel.Information, Message = "Ready: serving {Model} after {Seconds:F1} s")]
    private static partial void LogReady(ILogger logger, string model, double seconds);

    [LoggerMessage(EventId = 5010, Level = LogLevel.Information, Message = "Stopping: {Reason}")]
    private static partial void LogStopping(ILogger logger, string reason);

    [LoggerMessage(EventId = 5011, Level = LogLevel.Information, Message = "Draining {Running} requests, for {Seconds} s at most")]
    private static partial void LogDraining(ILogger logger, int running, double seconds);

    [LoggerMessage(EventId = 5012, Level = LogLevel.Warning, Message = "Aborting {Running} requests that did not finish; their callers may migrate them")]
    private static partial void LogAborting(ILogger logger, int running);

    [LoggerMessage(EventId = 5019, Level = LogLevel.Information, Message = "Waiting until decode workers have pulled the blocks of {Pending} hand-overs, for {Seconds} s at most")]
    private static partial void LogHandOvers(ILogger logger, int pending, double seconds);

    [LoggerMessage(EventId = 5013, Level = LogLevel.Error, Message = "The engine does not stop: {Problem}")]
    private static partial void LogEngineDoesNotStop(ILogger logger, string problem);

    [LoggerMessage(EventId = 5014, Level = LogLevel.Warning, Message = "Killed what was left of the engine: {Processes}")]
    private static partial void LogKilled(ILogger logger, string processes);

    [LoggerMessage(EventId = 5015, Level = LogLevel.Warning, Message = "{Name} (process {Id}) is left over from an earlier worker and may hold the GPU; kill it if the engine finds too little memory")]
    private static partial void LogOrphan(ILogger logger, string name, int id);

    [LoggerMessage(EventId = 5016, Level = LogLevel.Information, Message = "Stopped, exit code {ExitCode}")]
    private static partial void LogStopped(ILogger logger, int exitCode);

    [LoggerMessage(EventId = 5021, Level = LogLevel.Information, Message = "Requests to {Endpoint}: {Balance}")]
    private static partial void LogLedger(ILogger logger, string endpoint, LedgerBalance balance);

    [LoggerMessage(EventId = 5017, Level = LogLevel.Information, Message = "A stop came while the worker was starting; it never registered")]
    private static partial void LogStoppedDuringStart(ILogger logger);

    [LoggerMessage(EventId = 5020, Level = LogLevel.Warning, Message = "--fpm-trace/DYN_FPM_TRACE: forward-pass metrics are relayed to the event plane, but trace files are not written by this worker")]
    private static partial void LogNoTraceFiles(ILogger logger);

    [LoggerMessage(EventId = 5018, Level = LogLevel.Warning, Message = "Cannot write the configuration to {Path}: {Problem}. CONFIG_DUMP: {Dump}")]
    private static partial void LogDumpFailed(ILogger logger, string path, string problem, string dump);
}
