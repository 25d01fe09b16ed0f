using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>Folders for files that live as long as the worker.</summary>
internal static class TemporaryFolders
{
    private static readonly string[] Variables = ["TMPDIR", "TEMP", "TMP"];

    /// <summary>Creates one where Python, too, puts such files: in the first place that
    /// takes a file, so that a missing, full or read-only TMPDIR is passed over.</summary>
    /// <param name="prefix">Of its name.</param>
    /// <param name="environment">Names the places.</param>
    /// <param name="suffix">Of its name.</param>
    /// <exception cref="ConfigurationException">None does.</exception>
    public static string Create(string prefix, IReadOnlyDictionary<string, string> environment, string suffix = "")
    {
        var problems = new List<string>();
        var named = Variables.Select(variable => environment.GetValueOrDefault(variable)).OfType<string>().Where(path => path.Length > 0);
        foreach (var place in named.Concat(["/tmp", "/var/tmp", "/usr/tmp", Environment.CurrentDirectory]).Distinct())
        {
            var folder = Path.Combine(place, prefix + Path.GetRandomFileName() + suffix);
            if (!Directory.Exists(place))
            {
                problems.Add($"{place} does not exist");
            }
            else if (TryCreate(folder) is { } problem)
            {
                problems.Add(problem);
            }
            else
            {
                return folder;
            }
        }

        throw new ConfigurationException($"no temporary folder can be written ({string.Join("; ", problems)}); set TMPDIR to one that can");
    }

    /// <summary>Creates the folder unless it is there, and makes sure that it takes a file.</summary>
    /// <returns>What is wrong, with the path, or null.</returns>
    public static string? TryCreate(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);

            // With bytes in it: a full disk still takes names. It goes with its handle, also when writing fails.
            using var probe = new FileStream(
                Path.Combine(folder, $".probe_{Path.GetRandomFileName()}"),
                FileMode.CreateNew,
                FileAccess.Write,
                FileShare.None,
                bufferSize: 0,
                FileOptions.DeleteOnClose
            );
            probe.Write("probe"u8);
            return null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return exception.Message;
        }
    }
}
