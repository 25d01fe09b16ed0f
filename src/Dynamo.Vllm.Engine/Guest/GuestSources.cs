using System.Reflection;

namespace Dynamo.Vllm.Engine.Guest;

/// <summary>The guest's Python modules, embedded in this assembly.</summary>
internal static class GuestSources
{
    public const string EntryModule = "dynamo_vllm.bridge";

    /// <summary>Dotted module name to source text.</summary>
    public static IReadOnlyDictionary<string, string> Load()
    {
        var assembly = Assembly.GetExecutingAssembly();
        var modules = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var resource in assembly.GetManifestResourceNames().Where(name => name.EndsWith(".py", StringComparison.Ordinal)))
        {
            using var reader = new StreamReader(assembly.GetManifestResourceStream(resource)!);
            modules[resource[..^".py".Length].Replace('\\', '/').Replace('/', '.')] = reader.ReadToEnd();
        }

        return modules;
    }
}
