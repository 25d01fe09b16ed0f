// The executable is composed in Program.cs.
return 0;
