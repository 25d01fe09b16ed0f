using Dynamo.Vllm.Python.Platform;

namespace Dynamo.Vllm.Python.Locating;

/// <summary>Finds the interpreter to embed and proves that its library is the same build.</summary>
/// <remarks>
/// Order: the chosen interpreter or virtual environment, <c>VIRTUAL_ENV</c>, then the first usable of <c>python3</c> and <c>python3.N</c>
/// on PATH. A chosen one that does not work is an error; one found on PATH is passed over. Thread-safe: holds no state.
/// </remarks>
public static class PythonLocator
{
    public const int MinorMin = 10;

    /// <summary>Newest minor version looked for on PATH.</summary>
    public const int MinorMax = 14;

    /// <param name="chosen">Path of an interpreter or of a virtual environment, or null.</param>
    /// <param name="environment">Reads one environment variable.</param>
    public static PythonInstallation Locate(string? chosen, Func<string, string?> environment)
    {
        var named = !string.IsNullOrEmpty(chosen) ? chosen : environment("VIRTUAL_ENV");
        if (!string.IsNullOrEmpty(named))
        {
            return TryUse(ExecutableOf(named), out var problem)
                ?? throw new PythonNotUsableException($"Python cannot be embedded: {problem}");
        }

        string? firstProblem = null;
        foreach (var candidate in OnPath(environment("PATH") ?? ""))
        {
            if (TryUse(candidate, out var problem) is { } installation)
            {
                return installation;
            }

            firstProblem ??= problem;
        }

        throw new PythonNotUsableException(
            firstProblem is null
                ? $"Python cannot be embedded: no python3 on PATH. Install Python 3.{MinorMin} to 3.{MinorMax} with its shared "
                    + $"library (Debian: apt-get install python3 libpython3-dev), or name one with --python"
                : $"Python cannot be embedded: {firstProblem}"
        );
    }

    private static string ExecutableOf(string path) => Directory.Exists(path) ? Path.Combine(path, "bin", "python") : path;

    private static IEnumerable<string> OnPath(string path)
    {
        var names = Enumerable.Range(MinorMin, MinorMax - MinorMin + 1).Reverse().Select(minor => $"python3.{minor}").Prepend("python3");
        var folders = path.Split(':', StringSplitOptions.RemoveEmptyEntries);
        return from name in names from folder in folders let file = Path.Combine(folder, name) where File.Exists(file) select file;
    }

    private static PythonInstallation? TryUse(string executable, out string problem)
    {
        if (!executable.Contains('/', StringComparison.Ordinal) && OnPathByName(executable) is { } found)
        {
            executable = found;
        }

        if (!File.Exists(executable))
        {
            problem = $"{executable} does not exist; name an interpreter, or the folder of a virtual environment, with --python";
            return null;
        }

        if (PythonProbe.Ask(executable, out problem) is not { } facts || (problem = Refusal(facts)).Length > 0)
        {
            return null;
        }

        var library = FindLibrary(facts, out problem);
        return library is null ? null : new PythonInstallation(facts.Executable, library, facts.Version, facts.Major, facts.Minor);
    }

    private static string? OnPathByName(string name) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists);

    private static string Refusal(PythonFacts facts)
    {
        if (facts.Implementation != "CPython")
        {
            return $"{facts.Executable} is {facts.Implementation}, only CPython can be embedded";
        }

        if (facts.Major != 3 || facts.Minor < MinorMin)
        {
            return $"{facts.Executable} is Python {facts.Major}.{facts.Minor}, at least 3.{MinorMin} is needed";
        }

        if (facts.FreeThreaded)
        {
            return $"{facts.Executable} is a free-threaded build, which vLLM does not support; choose a build with the GIL";
        }

        var bits = Environment.Is64BitProcess ? 64 : 32;
        return facts.Bits == bits ? "" : $"{facts.Executable} is a {facts.Bits}-bit build in a {bits}-bit process";
    }

    private static string? FindLibrary(PythonFacts facts, out string problem)
    {
        var fallback = $"libpython{facts.Major}.{facts.Minor}.so";
        var names = facts.Names.Concat([$"{fallback}.1.0", fallback]).Distinct().ToList();
        string[] folders =
        [
            facts.Libdir,
            Path.Combine(facts.Libdir, facts.Multiarch),
            Path.Combine(facts.Base, "lib"),
            Path.Combine(facts.Base, "lib64"),
            facts.Libpl,
        ];
        var candidates = facts.Maps.Concat(
            from folder in folders
            where folder.Length > 0
            from name in names
            select Path.Combine(folder, name)
        );
        problem =
            $"{facts.Executable} has no shared libpython (a static build). Install it (Debian: apt-get install "
            + $"libpython{facts.Major}.{facts.Minor}; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)";
        foreach (var candidate in candidates.Where(File.Exists).Distinct())
        {
            var version = SharedLibrary.PythonVersionOf(candidate);
            if (version == facts.Version)
            {
                problem = "";
                return candidate;
            }

            problem = version is null
                ? $"{candidate} cannot be loaded as the library of {facts.Executable}"
                : $"{candidate} is '{FirstWord(version)}' but {facts.Executable} is '{FirstWord(facts.Version)}'; install the "
                    + $"libpython of that interpreter";
        }

        return null;
    }

    private static string FirstWord(string version) => version.Split(' ')[0];
}
