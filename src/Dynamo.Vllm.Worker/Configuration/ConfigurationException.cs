namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>The options are well formed but cannot be served together. Ends the process with <see cref="ExitCodes.Failure"/>.</summary>
/// <remarks>
/// The message names the option or variable, its value and the limit. Where the reference has the same rule it is the reference's text.
/// </remarks>
public sealed class ConfigurationException : Exception
{
    public ConfigurationException(string message)
        : base(message) { }
}
