namespace Dynamo.Vllm.Worker.Configuration.Dump;

/// <summary>Recognises by name what must never reach a dump or a log.</summary>
internal static class SecretNames
{
    public const string Redacted = "<REDACTED>";

    // Anywhere in the name of a variable.
    private static readonly string[] VariableParts =
    [
        "TOKEN",
        "API_KEY",
        "SECRET",
        "PASSWORD",
        "CREDENTIAL",
        "AUTH",
        "PRIVATE_KEY",
        "ACCESS_KEY",
    ];

    // At the end of an option's name. "token" elsewhere in it is about text, as in max_num_batched_tokens and skip_tokenizer_init.
    private static readonly string[] OptionEndings =
    [
        "_token",
        "api_key",
        "password",
        "secret",
        "credential",
        "credentials",
        "private_key",
        "access_key",
    ];

    public static bool IsSecretVariable(string name) => VariableParts.Any(part => name.Contains(part, StringComparison.OrdinalIgnoreCase));

    public static bool IsSecretOption(string destination) =>
        OptionEndings.Any(ending => destination.EndsWith(ending, StringComparison.OrdinalIgnoreCase));

    /// <summary>The argument vector with the values of secret options replaced, in both the two-word and the assigned form.</summary>
    public static IEnumerable<string> RedactArguments(IReadOnlyList<string> arguments)
    {
        var nextIsSecret = false;
        foreach (var argument in arguments)
        {
            var isFlag = argument.StartsWith('-');
            var equals = argument.IndexOf('=', StringComparison.Ordinal);
            var name = (equals < 0 ? argument : argument[..equals]).TrimStart('-').Replace('-', '_');
            var isSecretFlag = isFlag && IsSecretOption(name);
            yield return nextIsSecret && !isFlag ? Redacted
            : isSecretFlag && equals >= 0 ? argument[..(equals + 1)] + Redacted
            : argument;
            nextIsSecret = isSecretFlag && equals < 0;
        }
    }
}
