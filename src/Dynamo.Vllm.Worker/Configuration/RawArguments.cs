namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Looks into arguments that only vLLM's parser understands whole.</summary>
internal static class RawArguments
{
    /// <summary>The value of a flag in its full spelling, both as two words and as one; null where it is not given.</summary>
    public static string? ValueOf(IReadOnlyList<string> arguments, string flag)
    {
        for (var index = 0; index < arguments.Count; index++)
        {
            if (arguments[index] == flag)
            {
                return index + 1 < arguments.Count ? arguments[index + 1] : null;
            }

            if (arguments[index].StartsWith(flag + "=", StringComparison.Ordinal))
            {
                return arguments[index][(flag.Length + 1)..];
            }
        }

        return null;
    }
}
