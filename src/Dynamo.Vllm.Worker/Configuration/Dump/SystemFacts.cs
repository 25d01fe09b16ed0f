using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Help;

namespace Dynamo.Vllm.Worker.Configuration.Dump;

/// <summary>The machine as Python's <c>platform</c> module describes it, as far as dumps are compared across workers.</summary>
public static class SystemFacts
{
    private static string Machine => RuntimeInformation.ProcessArchitecture == Architecture.X64 ? "x86_64" : "aarch64";

    /// <remarks>Reads two files under <c>/proc</c>; a file that is missing leaves its text empty.</remarks>
    public static JsonObject Collect()
    {
        var release = ReadKernel("osrelease");
        return new JsonObject
        {
            ["platform"] = $"Linux-{release}-{Machine}-with-{LibcName()}",
            ["architecture"] = new JsonArray(Environment.Is64BitProcess ? "64bit" : "32bit", "ELF"),
            ["processor"] = ToolOutput.Read("uname", "-p")?.Trim() is { Length: > 0 } processor ? processor : "unknown",
            ["hostname"] = Environment.MachineName,
            ["os_name"] = "Linux",
            ["os_release"] = release,
            ["os_version"] = ReadKernel("version"),
        };
    }

    /// <summary>"glibc2.36".</summary>
    private static string LibcName() =>
        (ToolOutput.Read("getconf", "GNU_LIBC_VERSION") ?? "glibc").Trim().Replace(" ", "", StringComparison.Ordinal);

    private static string ReadKernel(string name)
    {
        try
        {
            return File.ReadAllText("/proc/sys/kernel/" + name).Trim();
        }
        catch (IOException)
        {
            return string.Empty;
        }
    }
}
