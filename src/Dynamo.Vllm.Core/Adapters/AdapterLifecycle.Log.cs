using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Adapters;

public sealed partial class AdapterLifecycle
{
    // Without the address: one may hold a credential.
    [LoggerMessage(EventId = 2701, Level = LogLevel.Information, Message = "Fetching LoRA adapter {Name}")]
    private static partial void LogFetching(ILogger logger, string name);

    [LoggerMessage(EventId = 2702, Level = LogLevel.Information, Message = "LoRA adapter {Name} is loaded with id {Id}")]
    private static partial void LogLoaded(ILogger logger, string name, int id);

    [LoggerMessage(EventId = 2703, Level = LogLevel.Information, Message = "LoRA adapter {Name} with id {Id} is swapped")]
    private static partial void LogSwapped(ILogger logger, string name, int id);

    [LoggerMessage(EventId = 2704, Level = LogLevel.Information, Message = "LoRA adapter {Name} with id {Id} is unloaded")]
    private static partial void LogUnloaded(ILogger logger, string name, int id);

    [LoggerMessage(
        EventId = 2705,
        Level = LogLevel.Warning,
        Message = "Cannot publish the card of LoRA adapter {Name}; it is taken out of the engine again"
    )]
    private static partial void LogCannotPublish(ILogger logger, string name, Exception exception);

    [LoggerMessage(EventId = 2706, Level = LogLevel.Warning, Message = "Cannot withdraw the card of LoRA adapter {Name}")]
    private static partial void LogCannotWithdraw(ILogger logger, string name, Exception exception);

    [LoggerMessage(EventId = 2707, Level = LogLevel.Warning, Message = "The engine does not let go of LoRA adapter {Name}: {Problem}")]
    private static partial void LogCannotRemove(ILogger logger, string name, string problem);

    [LoggerMessage(
        EventId = 2708,
        Level = LogLevel.Error,
        Message = "LoRA adapter {Name} cannot be brought back after a failed swap and is given up: {Problem}"
    )]
    private static partial void LogCannotRestore(ILogger logger, string name, string problem);
}
